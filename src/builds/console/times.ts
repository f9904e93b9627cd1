/** Finds out when a console's bytes came, from `console.times`: lines of `OFFSET MILLISECONDS`, both ascending. */
import type { FileHandle } from "node:fs/promises";

export interface Mark {
  readonly offset: number;
  /** Unix time. */
  readonly at: number;
}

/** Longer than any line. */
const maxLine = 64;

/** The marks of a part of the console: the last one at or before `from`, and all before `to`. */
export async function readMarks(file: FileHandle, from: number, to: number): Promise<Mark[]> {
  const { size } = await file.stat();
  const marks: Mark[] = [];
  const buffer = Buffer.alloc(16 * 1024);
  let rest = "";
  for (let position = await findMark(file, size, from); position < size; ) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) break;
    position += bytesRead;
    const lines = (rest + buffer.toString("latin1", 0, bytesRead)).split("\n");
    rest = (lines.pop() ?? "").slice(0, maxLine);
    for (const line of lines) {
      const mark = parseMark(line);
      if (!mark) continue;
      if (mark.offset >= to) return marks;
      if (mark.offset <= from) marks.length = 0;
      marks.push(mark);
    }
  }
  return marks;
}

/** When the byte at an offset came. */
export function timeAt(marks: readonly Mark[], offset: number): number | undefined {
  let low = 0;
  let high = marks.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((marks[middle]?.offset ?? 0) <= offset) low = middle + 1;
    else high = middle;
  }
  return marks[low - 1]?.at;
}

/** The beginning of a line at or before the last mark up to an offset. */
async function findMark(file: FileHandle, size: number, offset: number): Promise<number> {
  const buffer = Buffer.alloc(2 * maxLine);
  let low = 0;
  let high = size;
  while (high - low > buffer.length) {
    const middle = Math.floor((low + high) / 2);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, middle);
    const text = buffer.toString("latin1", 0, bytesRead);
    const start = text.indexOf("\n") + 1;
    const end = text.indexOf("\n", start);
    const mark = start > 0 && end > 0 ? parseMark(text.slice(start, end)) : undefined;
    // A damaged line is skipped by looking further in front.
    if (mark && mark.offset <= offset) low = middle + start;
    else high = middle;
  }
  return low;
}

function parseMark(line: string): Mark | undefined {
  const [, offset, at] = /^(\d{1,15}) (\d{1,15})$/.exec(line) ?? [];
  return offset === undefined ? undefined : { offset: Number(offset), at: Number(at) };
}
