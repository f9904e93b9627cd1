/** Numbers in a request's query. */
import { RequestError } from "../errors.ts";

/** @returns undefined: it isn't there. @throws RequestError 400 */
export function byteOffset(text: string | undefined): number | undefined {
  return wholeNumber("from", text, { least: 0, most: Number.MAX_SAFE_INTEGER });
}

/**
 * @param name of the number, for the message
 * @throws RequestError 400 for what is no number, or is out of bounds
 */
export function wholeNumber(
  name: string,
  text: string | undefined,
  { least, most }: { readonly least: number; readonly most: number },
): number | undefined {
  if (text === undefined) return undefined;
  const value = /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new RequestError(400, `${name} is to be a whole number from ${least} to ${most}`);
}
