/** Server-sent events as bytes (WHATWG HTML, section 9.2). */
import { isUtf8 } from "node:buffer";

/** Bytes of a console. */
export interface Piece {
  readonly offset: number;
  /** When they came: Unix milliseconds; 0: not known. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** JSON has no line ends, so that a value never ends its event. */
export function event(name: string, data: unknown, id?: number): Buffer {
  const line = id === undefined ? "" : `id: ${id}\n`;
  return Buffer.from(`${line}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}

/** A piece as text, or what isn't UTF-8 as base64. The id is the offset to go on from. */
export function outputEvent({ offset, at, bytes }: Piece): Buffer {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const content = isUtf8(bytes) ? { text: buffer.toString("utf8") } : { base64: buffer.toString("base64") };
  return event("output", { offset, at, ...content }, offset + bytes.length);
}

/** What a viewer missed. */
export function gapEvent(from: number, to: number): Buffer {
  return event("gap", { from, to }, to);
}

/** A comment: it keeps the line open, and tells of its end. */
export const heartbeat: Buffer = Buffer.from(": \n\n");

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
