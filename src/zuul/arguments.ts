/**
 * The arguments of `build:`, `stop:` and `set_description:`, in all forms that Zuul's versions and the Jenkins plugin know, and
 * the parameters with a meaning for the agent. All of it comes from outside and is checked.
 */
import { createHash } from "node:crypto";
import { CodedError } from "#/lib/errors.ts";
import { shown } from "#/lib/text.ts";

class ZuulError extends CodedError<"ARGUMENT"> {
  override readonly name = "ZuulError";
}

/** Bytes. Zuul's arguments have a few KiB, and hostile JSON takes forty times its length in memory. */
const maxArgument = 4 * 1024 * 1024;

/** Which build a client means. */
export type BuildSelector =
  /** The Gearman unique, which is ZUUL_UUID. */
  { readonly uuid: string } | { readonly job: string; readonly number: number };

/**
 * The parameters of a build.
 * @param argument a JSON object; values that aren't strings are written as JSON. An empty argument, as from
 *   `gearman -f build:JOB </dev/null`, means no parameters
 * @throws ZuulError ARGUMENT for anything else, and for an argument that is too long
 */
export function parseBuildArgument(argument: Uint8Array): Map<string, string> {
  if (argument.length === 0) return new Map();
  const object = parseObject(argument, "a build's argument");
  return new Map(
    Object.entries(object).map(([key, value]) => [
      key,
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
  );
}

/**
 * The name of a build: the Gearman unique, or else ZUUL_UUID. One that is too long, or has other characters than a uuid may
 * have, is replaced by its digest. The unique `-` is no name: it tells gearmand to compare the arguments.
 * @param isCut the server has cut the unique, and ZUUL_UUID may be the whole one
 * @returns undefined when neither is there
 */
export function buildUuid(
  unique: string,
  parameters: ReadonlyMap<string, string>,
  isCut = false,
): string | undefined {
  const own = parameters.get("ZUUL_UUID");
  const names = isCut && own?.startsWith(unique) ? [own] : [unique, own];
  const name = names.find((text) => text && text !== "-");
  if (name === undefined || isUuid(name)) return name;
  return `sha256-${createHash("sha256").update(name).digest("hex")}`;
}

/** True when the client wants the console as WORK_DATA packets. */
export function wantsStream(parameters: ReadonlyMap<string, string>): boolean {
  return parameters.get("LABGEAR_STREAM") === "1";
}

/** True when the node has to be paused after the build; the Jenkins plugin's parameter. */
export function wantsNodeOffline(parameters: ReadonlyMap<string, string>): boolean {
  return /^(1|true)$/i.test(parameters.get("OFFLINE_NODE_WHEN_COMPLETE") ?? "");
}

/**
 * Which build `stop:` means.
 * @param argument a bare uuid (Zuul of 2013), `{"name", "number"}` (Zuul 2), or `{"unique_id"}` or `{"uuid"}`
 * @throws ZuulError ARGUMENT
 */
export function parseStopArgument(argument: Uint8Array): BuildSelector {
  const text = decode(argument, "stop's argument").trim();
  if (!text.startsWith("{")) return { uuid: checkUuid(text.replace(/^"(.*)"$/, "$1"), "stop's argument") };
  return parseSelector(parseObject(argument, "stop's argument"), "stop's argument");
}

/**
 * Which build `set_description:` means, and the description.
 * @param argument `{"name", "number", "html_description"}` (Zuul 2), or `{"unique_id", "html_description"}` (2013)
 * @throws ZuulError ARGUMENT
 */
export function parseDescriptionArgument(argument: Uint8Array): { build: BuildSelector; html: string } {
  const what = "set_description's argument";
  const object = parseObject(argument, what);
  const html = object.html_description;
  if (typeof html !== "string") throw new ZuulError("ARGUMENT", `${what} has no html_description string`);
  return { build: parseSelector(object, what), html };
}

function parseSelector(object: Record<string, unknown>, what: string): BuildSelector {
  const uuid = object.unique_id ?? object.uuid;
  if (typeof uuid === "string") return { uuid: checkUuid(uuid, what) };
  const { name, number } = object;
  // Zuul echoes the number with the JSON type it got, which from us is an integer; people type strings.
  const whole = typeof number === "string" && /^[0-9]{1,15}$/.test(number) ? Number(number) : number;
  if (typeof name === "string" && Number.isSafeInteger(whole)) return { job: name, number: whole as number };
  throw new ZuulError("ARGUMENT", `${what} names no build: it needs "name" and "number", or "unique_id"`);
}

function checkUuid(text: string, what: string): string {
  if (isUuid(text)) return text;
  throw new ZuulError("ARGUMENT", `${what} is no build uuid: ${shown(text, 40)}`);
}

function isUuid(text: string): boolean {
  return /^[\x21-\x7e]{1,128}$/.test(text);
}

function parseObject(argument: Uint8Array, what: string): Record<string, unknown> {
  const text = decode(argument, what);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ZuulError("ARGUMENT", `${what} is not JSON: ${shown(text, 40)}`, { cause });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new ZuulError("ARGUMENT", `${what} is not a JSON object: ${shown(text, 40)}`);
}

function decode(argument: Uint8Array, what: string): string {
  if (argument.length > maxArgument) {
    throw new ZuulError("ARGUMENT", `${what} has ${argument.length} bytes, over the limit of ${maxArgument}`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(argument);
  } catch (cause) {
    throw new ZuulError("ARGUMENT", `${what} is not UTF-8 text`, { cause });
  }
}
