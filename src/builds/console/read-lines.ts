/** Goes through a console line by line, in bounded memory however long its lines are. */
import type { FileHandle } from "node:fs/promises";
import { type Place, pieceSize } from "./line-index.ts";

export interface RawLine extends Place {
  /** Without its end; of a very long line only the beginning. */
  readonly bytes: Buffer;
  /** Bytes of the line that aren't there. */
  readonly cut: number;
  /** Where the next line begins. */
  readonly next: number;
}

/** What is kept of one line, in bytes. */
const longestLine = 16 * 1024;

/**
 * @param start the beginning of a line
 * @param size how much of the file counts; a last line without an end is one
 */
export async function* readLines(file: FileHandle, start: Place, size: number): AsyncGenerator<RawLine> {
  let { line, offset } = start;
  let kept: Buffer[] = [];
  let length = 0;
  const finish = (next: number): RawLine => {
    const whole = kept.length === 1 && kept[0] ? kept[0] : Buffer.concat(kept);
    const made = { line, offset, bytes: whole, cut: length - whole.length, next };
    line += 1;
    offset = next;
    kept = [];
    length = 0;
    return made;
  };
  const keep = (bytes: Buffer): void => {
    const room = longestLine - Math.min(longestLine, length);
    if (room > 0 && bytes.length > 0) kept.push(bytes.subarray(0, room));
    length += bytes.length;
  };
  for (let position = offset; position < size; ) {
    const buffer = Buffer.allocUnsafe(Math.min(pieceSize, size - position));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) break;
    const piece = buffer.subarray(0, bytesRead);
    for (let at = 0; at < piece.length; ) {
      const end = piece.indexOf(10, at);
      keep(piece.subarray(at, end < 0 ? piece.length : end));
      if (end < 0) break;
      at = end + 1;
      yield finish(position + at);
    }
    position += bytesRead;
  }
  if (length > 0) yield finish(offset + length);
}
