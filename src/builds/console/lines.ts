/** A console's lines, and a search through them, in bounded memory however long the console and its lines are. */
import type { FileHandle } from "node:fs/promises";
import type { FoundBuild } from "../store.ts";
import { errorRank } from "./errors.ts";
import { consoleSize, openConsole, openTimes, readMarks, timeAt } from "./follow.ts";
import { type LineIndex, type Place, pieceSize } from "./line-index.ts";
import type { ConsoleLog } from "./log.ts";
import type { Section } from "./sections.ts";

export interface ConsolePlace {
  /** The build's. */
  readonly folder: string;
  /** While the build runs. */
  readonly live?: ConsoleLog | undefined;
}

export function consoleOf({ folder, running }: FoundBuild): ConsolePlace {
  return { folder, live: running?.console };
}

export interface Line {
  /** From 0. */
  readonly n: number;
  /** The first byte's. */
  readonly offset: number;
  /** When its first byte came, in Unix milliseconds. */
  readonly at?: number;
  readonly text: string;
  /** Bytes of a very long line that are left out. */
  readonly cut?: number;
}

export interface Lines {
  readonly from: number;
  /** null: not known yet. */
  readonly total: number | null;
  readonly lines: readonly Line[];
}

export interface Hits {
  readonly hits: readonly Pick<Line, "n" | "offset" | "text">[];
  /** The offset to continue from; null: that was all. */
  readonly next: number | null;
}

/** An answer with more bytes of text has fewer lines than asked for. */
const maxAnswerBytes = 1024 * 1024;
const maxHits = 100;
/** Bytes that one request searches. */
const maxSearchedBytes = 64 * 1024 * 1024;

/**
 * @param from a line; negative: counted from the end
 * @param count how many lines at most
 */
export async function linesOf(
  console: ConsolePlace,
  index: LineIndex,
  from: number,
  count: number,
): Promise<Lines> {
  const file = await openConsole(console.folder);
  if (!file) return { from: 0, total: 0, lines: [] };
  await using _ = file;
  const size = await consoleSize(file, console.live);
  if (from < 0) await index.extend(file, size);
  else await index.extend(file, size, () => index.lines > from + count);
  const first = from < 0 ? Math.max(0, index.lines + from) : from;
  const found: RawLine[] = [];
  let text = 0;
  for await (const line of readLines(file, index.placeOfLine(first), size)) {
    if (line.line < first) continue;
    if (found.length >= count || text > maxAnswerBytes) break;
    text += line.bytes.length;
    found.push(line);
  }
  const total = index.scanned >= size ? index.lines : null;
  return { from: first, total, lines: await withTimes(console, found) };
}

async function withTimes(console: ConsolePlace, lines: readonly RawLine[]): Promise<Line[]> {
  const [first, last] = [lines[0], lines.at(-1)];
  const times = first && last ? await openTimes(console.folder) : undefined;
  if (!first || !last || !times) return lines.map((line) => shown(line));
  await using _ = times;
  const marks = await readMarks(times, first.offset, last.next);
  return lines.map((line) => shown(line, timeAt(marks, line.offset)));
}

/** Counts all of a console's lines, for the total. */
export async function countLines(console: ConsolePlace, index: LineIndex): Promise<void> {
  const file = await openConsole(console.folder);
  if (!file) return;
  await using _ = file;
  await index.extend(file, await consoleSize(file, console.live));
}

function shown({ line, offset, bytes, cut }: RawLine, at?: number): Line {
  const text = bytes.toString("utf8");
  return { n: line, offset, text, ...(at !== undefined && { at }), ...(cut > 0 && { cut }) };
}

/** The sections that its marks and headings make. */
export async function sectionsOf(console: ConsolePlace, index: LineIndex): Promise<Section[]> {
  const file = await openConsole(console.folder);
  if (!file) return [];
  await using _ = file;
  const size = await consoleSize(file, console.live);
  return await index.sections.read(file, size, console.live === undefined);
}

interface Search {
  /** An offset, such as the last answer's `next`. */
  readonly from: number;
  readonly signal?: AbortSignal | undefined;
  readonly maxBytes?: number;
}

/** The lines of which it is true. */
export async function search(
  console: ConsolePlace,
  index: LineIndex,
  isHit: (line: Buffer) => boolean,
  { from, signal, maxBytes = maxSearchedBytes }: Search,
): Promise<Hits> {
  const file = await openConsole(console.folder);
  if (!file) return { hits: [], next: null };
  await using _ = file;
  const size = await consoleSize(file, console.live);
  await index.extend(file, size, () => index.scanned > from, signal);
  const hits: Hits["hits"][number][] = [];
  for await (const line of readLines(file, index.placeOfOffset(from), size)) {
    if (line.offset < from) continue;
    const isOver = hits.length >= maxHits || line.offset - from > maxBytes || signal?.aborted;
    if (isOver) return { hits, next: line.offset };
    if (!isHit(line.bytes)) continue;
    const { n, offset, text } = shown(line);
    hits.push({ n, offset, text });
  }
  return { hits, next: null };
}

/** @returns what is true of lines that contain the text; ASCII letters match in either case */
export function containing(query: string): (line: Buffer) => boolean {
  const wanted = folded(Buffer.from(query));
  return (line) => folded(line).includes(wanted);
}

/** Lines that report an error. */
export function isErrorLine(line: Buffer): boolean {
  return errorRank(line.toString("latin1")) !== undefined;
}

/** One character for each byte, so that UTF-8 sequences stay distinct, with ASCII letters in lower case. */
function folded(bytes: Buffer): string {
  return bytes.toString("latin1").replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

interface RawLine extends Place {
  /** Without the newline; of a very long line only the beginning. */
  readonly bytes: Buffer;
  /** Bytes of the line that are left out. */
  readonly cut: number;
  /** Where the next line begins. */
  readonly next: number;
}

/** How much of a line is kept. */
const maxLineBytes = 16 * 1024;

/**
 * @param start the beginning of a line
 * @param size how much of the file is read; a last line without a newline counts
 */
async function* readLines(file: FileHandle, start: Place, size: number): AsyncGenerator<RawLine> {
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
    const room = maxLineBytes - Math.min(maxLineBytes, length);
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
