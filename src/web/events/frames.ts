/** Server-sent events as bytes (WHATWG HTML, section 9.2). */
import { isUtf8 } from "node:buffer";
import { constants, deflateRawSync } from "node:zlib";

/** Bytes of a console. */
export interface Piece {
  readonly offset: number;
  /** When they came: Unix milliseconds; 0: not known. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** What begins a stream of packed frames: a header of gzip (RFC 1952, section 2.3) without name and time. */
export const packedStart: Buffer = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);

/**
 * Events for any number of viewers. Packed they are whole blocks of a deflate stream that refer to nothing before them (RFC 1951), so
 * that the same bytes fit into the stream of each viewer, whatever it got before.
 */
export class Frame {
  readonly plain: Buffer;
  #packed: Buffer | undefined;

  constructor(text: string) {
    this.plain = Buffer.from(text);
  }

  /** Made when the first viewer wants it. */
  get packed(): Buffer {
    this.#packed ??= pack(this.plain);
    return this.#packed;
  }
}

/** Smaller ones aren't worth the work, in bytes. */
const worthPacking = 512;

function pack(plain: Buffer): Buffer {
  if (plain.length >= worthPacking)
    return deflateRawSync(plain, { level: 1, finishFlush: constants.Z_FULL_FLUSH });
  // A block as it is: its length, and that turned around (RFC 1951, section 3.2.4).
  const { length } = plain;
  return Buffer.concat([
    Buffer.from([0, length & 255, length >> 8, ~length & 255, (~length >> 8) & 255]),
    plain,
  ]);
}

/** JSON has no line ends, so that a value never ends its event. */
export function event(name: string, data: unknown, id?: number): Frame {
  const line = id === undefined ? "" : `id: ${id}\n`;
  return new Frame(`${line}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}

/** A piece as text, or what isn't UTF-8 as base64. The id is the offset to go on from. */
export function outputEvent({ offset, at, bytes }: Piece): Frame {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const content = isUtf8(bytes) ? { text: buffer.toString("utf8") } : { base64: buffer.toString("base64") };
  return event("output", { offset, at, ...content }, offset + bytes.length);
}

/** What a viewer missed. */
export function gapEvent(from: number, to: number): Frame {
  return event("gap", { from, to }, to);
}

/** A comment: it keeps the line open, and tells of its end. */
export const heartbeat: Frame = new Frame(": \n\n");

/** How many bytes at the end are a character that isn't complete yet: 0 to 3. */
export function openTail(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    // A first byte tells how long its character is (RFC 3629, section 3).
    if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) ? back : 0;
  }
  return 0;
}
