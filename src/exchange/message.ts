/** The form of all messages: a JSON object on one line, and for some a newline and bytes. All of it comes from outside. */
import { type ErrorFacts, ExchangeError, type ExchangeErrorCode, errorCodes } from "./errors.ts";

/** Of a message's bytes after its line. */
export const maxPieceBytes = 1024 * 1024;
/** Of a message's line: room for the longest path. */
export const maxLineBytes = 16 * 1024;

const newline = 0x0a;

export type JsonObject = Readonly<Record<string, unknown>>;

/** @returns a message: the object's line, a newline, the bytes */
export function joinMessage(object: JsonObject, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${JSON.stringify(object)}\n`), bytes]);
}

/**
 * @returns the line's object, and the bytes behind it, which are part of the message's memory
 * @throws ExchangeError malformed
 */
export function splitMessage(message: Buffer): { object: JsonObject; bytes: Buffer } {
  const end = message.subarray(0, maxLineBytes + 1).indexOf(newline);
  if (end < 0) throw malformed(`has no line of JSON of at most ${maxLineBytes} bytes`);
  const bytes = message.subarray(end + 1);
  if (bytes.length > maxPieceBytes) throw malformed(`has more than ${maxPieceBytes} bytes behind its line`);
  return { object: parseObject(message.subarray(0, end)), bytes };
}

/**
 * @param maxBytes default: of a line
 * @throws ExchangeError malformed
 */
export function parseObject(bytes: Uint8Array, maxBytes = maxLineBytes): JsonObject {
  if (bytes.length > maxBytes) throw malformed(`has more than ${maxBytes} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw malformed("is not JSON in UTF-8");
  }
  if (isObject(value)) return value;
  throw malformed("is not a JSON object");
}

/** A data packet's object; empty for anything else, which another kind of worker may send. */
export function dataObject(data: Buffer): JsonObject {
  try {
    const value: unknown = JSON.parse(data.toString());
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

/** @throws ExchangeError malformed for a key that isn't among them: a request means all that it says */
export function refuseOtherKeys(object: JsonObject, known: readonly string[]): void {
  const other = Object.keys(object).find((key) => !known.includes(key));
  if (other !== undefined) throw malformed(`has the unknown key ${JSON.stringify(other.slice(0, 40))}`);
}

export function malformed(what: string): ExchangeError {
  return new ExchangeError("malformed", `the message ${what}`);
}

/** The answer that refuses a request. */
export function errorAnswer({ code, message, facts }: ExchangeError): Buffer {
  return Buffer.from(JSON.stringify({ error: code, message, ...facts }));
}

/** Whether an answer says that the agent doesn't have the build. */
export function isUnknownBuild(answer: Buffer): boolean {
  const start = `{"error":${JSON.stringify("unknown-build" satisfies ExchangeErrorCode)}`;
  return answer.subarray(0, start.length).equals(Buffer.from(start));
}

/** @throws the ExchangeError that an answer carries, if it is a refusal; a code of a newer agent counts as unavailable */
export function throwRefusal(object: JsonObject): void {
  const { error, message, time, offset } = object;
  if (typeof error !== "string") return;
  const code = errorCodes.has(error) ? (error as ExchangeErrorCode) : "unavailable";
  const text = typeof message === "string" ? message.slice(0, 1000) : error.slice(0, 100);
  const facts: ErrorFacts = { ...(isCount(time) && { time }), ...(isCount(offset) && { offset }) };
  throw new ExchangeError(code, text, facts);
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether a value is a whole number that isn't negative. */
export function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0);
}

/** A SHA-256 digest in lower-case hexadecimal. */
export function isDigest(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

export function isInputName(value: unknown): value is string {
  return typeof value === "string" && /^[a-z][a-z0-9_]{0,63}$/.test(value);
}

/** Of a build: printable ASCII without spaces. */
export function isUuid(value: unknown): value is string {
  return typeof value === "string" && /^[\x21-\x7e]{1,128}$/.test(value);
}

/** Of a job. */
export function isBuildName(value: unknown): value is string {
  return isLine(value, 255) && value !== "";
}

/** Text without control characters, lone surrogates included in what is refused. */
export function isLine(value: unknown, maxLength: number): value is string {
  return typeof value === "string" && value.length <= maxLength && !/[\p{Cc}\p{Cs}\u2028\u2029]/u.test(value);
}
