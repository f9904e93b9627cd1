/** Reads a console, finished or growing, and when its bytes came. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { openStored } from "../workspace/files.ts";
import { type ConsoleLog, consoleFile } from "./log.ts";

const pieceSize = 64 * 1024;

/** @returns undefined: there is no console (yet), or it is not a regular file */
export function openConsole(folder: string): Promise<FileHandle | undefined> {
  return openStored(folder, "console.log");
}

/** @returns undefined: nobody recorded when the console's bytes came */
export function openTimes(folder: string): Promise<FileHandle | undefined> {
  return openStored(folder, "console.times");
}

/** A console's bytes; of a running build's only those that are written for sure. */
export async function consoleSize(file: FileHandle, live: ConsoleLog | undefined): Promise<number> {
  return live?.size ?? (await file.stat()).size;
}

/**
 * The bytes of a console from an offset on, in pieces of 64 KiB at most.
 * @param folder the build's
 * @param options.live the running build's console, to follow it to its end
 * @throws the file system's error
 */
export async function* readConsole(
  folder: string,
  options: { from?: number; live?: ConsoleLog | undefined; signal?: AbortSignal } = {},
): AsyncGenerator<Buffer> {
  const { live, signal } = options;
  // Without waiting, as a job that runs as the agent's user may have put a FIFO there.
  await using file = await open(consoleFile(folder), constants.O_RDONLY | constants.O_NONBLOCK);
  const buffer = Buffer.alloc(pieceSize);
  let at = options.from ?? 0;
  while (!signal?.aborted) {
    // Asked before the read: what was written before the close is read for sure.
    const last = !live || live.closed;
    const { bytesRead } = await file.read(buffer, 0, pieceSize, at);
    at += bytesRead;
    // A copy: a slow reader may keep many pieces, and they may be single bytes.
    if (bytesRead > 0) yield Buffer.from(buffer.subarray(0, bytesRead));
    else if (last) return;
    // The signal ends the loop.
    else await live.changed.until(() => live.size > at || live.closed, signal).catch(() => {});
  }
}

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
