/**
 * `send:MANAGER`: a piece of an input, or a sign of life.
 *
 *     {"uuid": …, "name": …, "offset": N, "length": N, "time": N, "signature": …}\n BYTES   →  {"received": N}
 *     {"uuid": …, "time": N, "signature": …}\n                                              →  {"received": 0}
 *
 * `length` is that of BYTES. `received` counts the input's bytes that the agent has now: the next piece begins there. A piece
 * whose end is at or before that is answered and not written again. A piece without bytes says that the client's file ends at
 * `offset`: if that isn't the size it announced, the build ends, since the rest would never come. For the signature see key.ts; the
 * sign of life is signed with an empty name, offset 0 and length 0.
 */
import type { BuildKey, Signed } from "./key.ts";
import {
  isCount,
  isInputName,
  isUuid,
  joinMessage,
  malformed,
  parseObject,
  refuseOtherKeys,
  splitMessage,
  throwRefusal,
} from "./message.ts";

/** A piece of an input. Without a name it is only a sign of life. */
export interface Piece {
  readonly uuid: string;
  readonly name?: string;
  readonly offset: number;
  readonly bytes: Buffer;
  /** What the signature has to be about. */
  readonly signed: Signed;
  readonly signature: string | undefined;
}

/** @param time Unix milliseconds by the agent's clock */
export function formatPiece(
  key: BuildKey,
  piece: {
    readonly uuid: string;
    readonly name: string;
    readonly offset: number;
    readonly bytes: Uint8Array;
  },
  time: number,
): Buffer {
  const { uuid, name, offset, bytes } = piece;
  const { length } = bytes;
  const signature = key.sign({ operation: "send", build: { uuid }, what: name, offset, length, time });
  return joinMessage({ uuid, name, offset, length, time, signature }, bytes);
}

export function formatSignOfLife(key: BuildKey, uuid: string, time: number): Buffer {
  const signature = key.sign({ operation: "send", build: { uuid }, what: "", offset: 0, length: 0, time });
  return joinMessage({ uuid, time, signature }, Buffer.alloc(0));
}

/**
 * Reads the line and looks at nothing else: verify the signature before touching the bytes.
 * @throws ExchangeError malformed
 */
export function parsePiece(argument: Buffer): Piece {
  const { object, bytes } = splitMessage(argument);
  refuseOtherKeys(object, ["uuid", "name", "offset", "length", "time", "signature"]);
  const { uuid, name, offset = 0, length = 0, time = 0, signature } = object;
  if (!isUuid(uuid)) throw malformed('has no "uuid" of a build');
  if (name !== undefined && !isInputName(name)) throw malformed('has a "name" that no input can have');
  if (!isCount(offset) || !isCount(length) || !isCount(time))
    throw malformed('has no whole numbers as "offset", "length" and "time"');
  if (signature !== undefined && typeof signature !== "string") throw malformed('has no text as "signature"');
  if (length !== bytes.length)
    throw malformed(`says ${length} bytes and has ${bytes.length} behind its line`);
  if (name === undefined && (offset > 0 || length > 0))
    throw malformed('has bytes or an offset and no "name"');
  const signed: Signed = { operation: "send", build: { uuid }, what: name ?? "", offset, length, time };
  return { uuid, ...(name !== undefined && { name }), offset, bytes, signed, signature };
}

export function formatReceived(received: number): Buffer {
  return Buffer.from(JSON.stringify({ received }));
}

/**
 * @returns how many bytes of the input the agent has
 * @throws ExchangeError the agent's refusal, or malformed
 */
export function parseReceived(answer: Uint8Array): number {
  const object = parseObject(answer);
  throwRefusal(object);
  if (isCount(object.received)) return object.received;
  throw malformed('has no whole number as "received"');
}
