/** A console by its lines, and searched through: what /api/builds/JOB/NUMBER/lines and …/search answer. */
import type { FileHandle } from "node:fs/promises";
import type { LineIndex, Place } from "#/builds/console/line-index.ts";
import { type RawLine, readLines } from "#/builds/console/read-lines.ts";
import { readMarks, timeAt } from "#/builds/console/times.ts";
import { openConsole, openTimes, sizeOf } from "./console-file.ts";
import type { FoundBuild } from "./find-build.ts";

export interface Line {
  /** From 0. */
  readonly n: number;
  /** Of its first byte. */
  readonly offset: number;
  /** When it began to come: Unix milliseconds. */
  readonly at?: number;
  readonly text: string;
  /** Bytes of a very long line that are left out. */
  readonly cut?: number;
}

export interface Lines {
  readonly from: number;
  /** null: not counted yet. */
  readonly total: number | null;
  readonly lines: readonly Line[];
}

export interface Hits {
  readonly hits: readonly Pick<Line, "n" | "offset" | "text">[];
  /** The offset to go on from; null: that was all. */
  readonly next: number | null;
}

/** Bytes of lines in one answer, beyond which there are fewer lines than asked for. */
const mostText = 1024 * 1024;
const mostHits = 100;
/** Bytes that one request searches. */
const mostSearched = 64 * 1024 * 1024;

/**
 * @param from a line; negative: so many from the end
 * @param count how many at most
 */
export async function linesOf(
  build: FoundBuild,
  index: LineIndex,
  from: number,
  count: number,
): Promise<Lines> {
  const file = await openConsole(build);
  if (!file) return { from: 0, total: 0, lines: [] };
  await using _ = { [Symbol.asyncDispose]: () => file.close() };
  const size = await sizeOf(build, file);
  if (from < 0) await index.extend(file, size);
  else await index.extend(file, size, () => index.lines > from + count);
  const first = from < 0 ? Math.max(0, index.lines + from) : from;
  const found: RawLine[] = [];
  let text = 0;
  for await (const line of readLines(file, index.placeOfLine(first), size)) {
    if (line.line < first) continue;
    if (found.length >= count || text > mostText) break;
    text += line.bytes.length;
    found.push(line);
  }
  const total = index.scanned >= size ? index.lines : null;
  return { from: first, total, lines: await withTimes(build, found) };
}

async function withTimes(build: FoundBuild, lines: readonly RawLine[]): Promise<Line[]> {
  const [first, last] = [lines[0], lines.at(-1)];
  const times = first && last ? await openTimes(build) : undefined;
  if (!first || !last || !times) return lines.map((line) => shown(line));
  await using _ = { [Symbol.asyncDispose]: () => times.close() };
  const marks = await readMarks(times, first.offset, last.next);
  return lines.map((line) => shown(line, timeAt(marks, line.offset)));
}

/** Counts a console's lines to its end, for the total. */
export async function countLines(build: FoundBuild, index: LineIndex): Promise<void> {
  const file = await openConsole(build);
  if (!file) return;
  await using _ = { [Symbol.asyncDispose]: () => file.close() };
  await index.extend(file, await sizeOf(build, file));
}

function shown({ line, offset, bytes, cut }: RawLine, at?: number): Line {
  const text = bytes.toString("utf8");
  return { n: line, offset, text, ...(at !== undefined && { at }), ...(cut > 0 && { cut }) };
}

/**
 * Lines with a text in them; letters of ASCII in either case.
 * @param from an offset, such as the last answer's `next`
 */
export async function search(
  build: FoundBuild,
  index: LineIndex,
  query: string,
  from: number,
  signal: AbortSignal,
): Promise<Hits> {
  const file = await openConsole(build);
  if (!file) return { hits: [], next: null };
  await using _ = { [Symbol.asyncDispose]: () => file.close() };
  const size = await sizeOf(build, file);
  await index.extend(file, size, () => index.scanned > from, signal);
  return await searchFrom(file, index.placeOfOffset(from), size, { query, from, signal });
}

async function searchFrom(
  file: FileHandle,
  start: Place,
  size: number,
  { query, from, signal }: { query: string; from: number; signal: AbortSignal },
): Promise<Hits> {
  const wanted = folded(Buffer.from(query));
  const hits: Hits["hits"][number][] = [];
  for await (const line of readLines(file, start, size)) {
    if (line.offset < from) continue;
    const isOver = hits.length >= mostHits || line.offset - from > mostSearched || signal.aborted;
    if (isOver) return { hits, next: line.offset };
    if (!folded(line.bytes).includes(wanted)) continue;
    const { n, offset, text } = shown(line);
    hits.push({ n, offset, text });
  }
  return { hits, next: null };
}

/** A byte for each character, so that all of UTF-8 stays apart, with the letters of ASCII in lower case. */
function folded(bytes: Buffer): string {
  return bytes.toString("latin1").replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
