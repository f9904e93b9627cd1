/** Texts that the schema has let through, as the numbers and addresses that they are. */
import { parseAddress } from "#/lib/address.ts";
import { parseDuration, parseSize } from "#/lib/units.ts";
import { defaults } from "./defaults.ts";

/** @returns a duration's milliseconds */
export function milliseconds(text: string): number {
  return checked(parseDuration(text), text);
}

/** @returns a size's bytes */
export function bytes(size: string | number): number {
  return checked(parseSize(String(size)), size);
}

/** @returns the parts of HOST or HOST:PORT */
export function address(text: string): { host: string; port: number } {
  return checked(parseAddress(text, defaults.serverPort), text);
}

/**
 * @param value what a parser made of the text
 * @throws TypeError when it made nothing of it: the schema has let the text through, so that this is a mistake of ours
 */
export function checked<T>(value: T | undefined, text: unknown): T {
  if (value === undefined) throw new TypeError(`the schema let ${String(text)} through`);
  return value;
}
