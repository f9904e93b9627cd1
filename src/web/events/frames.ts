/** Server-sent events as bytes (WHATWG HTML, section 9.2). */
import { isUtf8 } from "node:buffer";
import { constants, deflateRawSync } from "node:zlib";

/** A piece of a console. */
export interface Piece {
  readonly offset: number;
  /** When the bytes arrived, in Unix milliseconds; 0 if unknown. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** The gzip header (RFC 1952, section 2.3), without name and time, that a compressed stream starts with. */
export const gzipHeader: Buffer = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);

/**
 * An event for any number of viewers. Compressed, it is a series of whole deflate blocks (RFC 1951) that refer to no earlier
 * data, so the same bytes fit into the stream of every viewer.
 */
export class Frame {
  readonly plain: Buffer;
  #compressed: Buffer | undefined;

  constructor(text: string) {
    this.plain = Buffer.from(text);
  }

  /** Compressed once, when the first viewer needs it. */
  get compressed(): Buffer {
    this.#compressed ??= compress(this.plain);
    return this.#compressed;
  }
}

/** Smaller frames are stored: compressing them saves too little. */
const minCompressedBytes = 512;

function compress(plain: Buffer): Buffer {
  if (plain.length >= minCompressedBytes)
    return deflateRawSync(plain, { level: 1, finishFlush: constants.Z_FULL_FLUSH });
  // A stored block: the length, and its complement (RFC 1951, section 3.2.4).
  const { length } = plain;
  return Buffer.concat([
    Buffer.from([0, length & 255, length >> 8, ~length & 255, (~length >> 8) & 255]),
    plain,
  ]);
}

/** JSON has no raw line ends, so the data is always one line. */
export function event(name: string, data: unknown, id?: number): Frame {
  const line = id === undefined ? "" : `id: ${id}\n`;
  return new Frame(`${line}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}

/** A piece as text, or as base64 if it is not UTF-8. The id is the offset to continue from. */
export function outputEvent({ offset, at, bytes }: Piece): Frame {
  return event("output", { offset, at, ...textOrBase64(bytes) }, offset + bytes.length);
}

export function textOrBase64(bytes: Uint8Array): { text: string } | { base64: string } {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return isUtf8(bytes) ? { text: buffer.toString("utf8") } : { base64: buffer.toString("base64") };
}

/** Bytes that a viewer missed. */
export function gapEvent(from: number, to: number): Frame {
  return event("gap", { from, to }, to);
}

/** A sign of life. Without one for a while, a page says so: a comment would keep the connection open, but not reach its script. */
export const heartbeat: Frame = event("alive", {});
