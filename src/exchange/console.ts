/**
 * `console:MANAGER`: a board's output from an offset on, at most 256 KiB, at once; a client that follows it asks again and again.
 *
 *     {"device": NAME, "offset": N}                                                    →  {"offset": N, "end": N}\n BYTES
 *     {"device": NAME, "offset": N, "number": N, "session": HEX, "time": N, "signature": …}
 *
 * Without an offset it begins with the latest output. `offset` in the answer is where BYTES begin: later than what was asked for when
 * the ring has lost that. The second form is that of a lease's holder, whose line to the job server was lost: signed like what is
 * typed, over the operation `console`, WHAT being the session. Others may read where the lab says `remote: { console: true }`, and
 * not while the board is leased.
 */
import type { BuildKey, Signed } from "./key.ts";
import { isSession, leaseJob } from "./lease.ts";
import {
  isCount,
  isLine,
  joinMessage,
  malformed,
  maxLineBytes,
  parseObject,
  refuseOtherKeys,
  splitMessage,
  throwRefusal,
} from "./message.ts";

export const maxConsoleBytes = 256 * 1024;

export function consoleFunction(manager: string): string {
  return `console:${manager}`;
}

export interface ConsoleRequest {
  readonly device: string;
  /** Absent: the latest output. */
  readonly offset?: number;
  /** Of a lease's holder. */
  readonly holder?: { readonly number: number; readonly signed: Signed; readonly signature: string };
}

interface ByHolder {
  readonly key: BuildKey;
  readonly number: number;
  readonly session: string;
  readonly time: number;
}

function signedBy({ number, session, time }: Omit<ByHolder, "key">, offset: number): Signed {
  return {
    operation: "console",
    build: { name: leaseJob, number },
    ...{ what: session, offset, length: 0, time },
  };
}

export function formatConsoleRequest(device: string, offset: number | undefined, by?: ByHolder): Buffer {
  const plain = { device, ...(offset !== undefined && { offset }) };
  if (!by) return Buffer.from(JSON.stringify(plain));
  const { key, ...facts } = by;
  const signature = key.sign(signedBy(facts, offset ?? 0));
  return Buffer.from(JSON.stringify({ ...plain, ...facts, signature }));
}

/** @throws ExchangeError malformed */
export function parseConsoleRequest(argument: Uint8Array): ConsoleRequest {
  const object = parseObject(argument);
  refuseOtherKeys(object, ["device", "offset", "number", "session", "time", "signature"]);
  const { device, offset, number, session, time, signature } = object;
  if (!isLine(device, 255) || device === "") throw malformed('has no "device"');
  if (offset !== undefined && !isCount(offset)) throw malformed('has no whole number as "offset"');
  const plain = { device, ...(offset !== undefined && { offset }) };
  if (signature === undefined) return plain;
  if (typeof signature !== "string" || !isCount(number) || !isCount(time) || !isSession(session))
    throw malformed('has no "number", "session", "time" and "signature" of a lease');
  return {
    ...plain,
    holder: { number, signed: signedBy({ number, session, time }, offset ?? 0), signature },
  };
}

export interface ConsolePiece {
  /** Where the bytes begin. */
  readonly offset: number;
  /** Of what the board has said so far. */
  readonly end: number;
  readonly bytes: Buffer;
}

export function formatConsolePiece({ bytes, ...head }: ConsolePiece): Buffer {
  return joinMessage(head, bytes);
}

/** @throws ExchangeError the agent's refusal, or malformed */
export function parseConsolePiece(answer: Buffer): ConsolePiece {
  // A refusal is an object without a newline.
  if (!answer.subarray(0, maxLineBytes + 1).includes(0x0a)) throwRefusal(parseObject(answer));
  const { object, bytes } = splitMessage(answer);
  const { offset, end } = object;
  if (!isCount(offset) || !isCount(end) || offset + bytes.length > end)
    throw malformed('has no "offset" and "end"');
  return { offset, end, bytes };
}
