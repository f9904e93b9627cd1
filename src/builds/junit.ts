/** Reads a job's test reports, JUnit XML files in its workspace. */
import type { FileHandle } from "node:fs/promises";
import { reason } from "#/lib/errors.ts";
import { cutShort, realWorkspace } from "./artifacts.ts";
import { JunitReader, type ReaderLimits, type TestCase, type TestTotals } from "./junit-reader.ts";
import { openInside } from "./workspace/files.ts";
import { findFiles, quote, Warnings } from "./workspace/find.ts";
import { type BuildPeriod, OldFiles } from "./workspace/period.ts";

export interface TestReport {
  /** Of all cases, including those that aren't kept. Counted here: the counts in reports are often wrong. */
  readonly totals: TestTotals;
  readonly cases: TestCase[];
  readonly warnings: string[];
}

export interface JunitLimits extends ReaderLimits {
  readonly maxFiles: number;
  /** A larger file is not read. */
  readonly maxFileBytes: number;
}

const defaultLimits: JunitLimits = {
  maxFiles: 1000,
  maxFileBytes: 10 * 1024 ** 2,
  maxCases: 10_000,
  maxDetails: 16 * 1024,
  maxText: 8 * 1024 ** 2,
};

/**
 * Reads all reports that the globs match. A file that breaks off or isn't well-formed counts as far as it can be read, and a
 * warning names it; `denied` is what can't be opened for want of rights. Nothing that a file refers to is opened, and none of its own entities is expanded.
 * @param parts.own a report of our own, beside the job's
 * @param parts.period of the build; absent: all reports are its own
 * @param parts.stale what happens to older reports
 * @param parts.signal its abort ends the reading; what has been read by then counts
 */
export async function readJunit(parts: {
  readonly workspace: string;
  readonly globs: readonly string[];
  readonly own?: string;
  readonly limits?: Partial<JunitLimits>;
  readonly period?: BuildPeriod;
  readonly stale?: "skip" | "keep";
  readonly signal?: AbortSignal;
}): Promise<TestReport & { readonly denied: ReadonlySet<string> }> {
  const { signal } = parts;
  const limits = { ...defaultLimits, ...parts.limits };
  const warnings = new Warnings();
  const reader = new JunitReader(limits);
  const { own, globs } = parts;
  if (own !== undefined) {
    const document = reader.document();
    document.write(own);
    document.end();
  }
  const base = globs.length > 0 ? await realWorkspace(parts.workspace, warnings) : undefined;
  const old = new OldFiles(parts);
  const seen = new Set<string>();
  for (const glob of base === undefined ? [] : globs) {
    for await (const path of findFiles(base ?? "", glob, warnings, signal)) {
      if (seen.has(path)) continue;
      if (seen.size >= limits.maxFiles) {
        warnings.add(
          `${quote(glob)} matches more than the ${limits.maxFiles} reports that are read; the rest is left out`,
        );
        break;
      }
      const why = await readReport(base ?? "", path, { reader, limits, old, signal });
      if (why === "old") continue;
      if (why === "EACCES") warnings.deny(path);
      seen.add(path);
      if (why) warnings.add(`the test report ${quote(path)}: ${why}`);
    }
  }
  if (reader.dropped > 0)
    warnings.add(`the details of ${reader.dropped} test cases are not kept: there are too many`);
  for (const line of old.lines) warnings.add(`test reports: ${line}`);
  if (signal?.aborted) warnings.add(`${cutShort(signal)}; some test reports are not read`);
  return { totals: reader.totals, cases: reader.cases, warnings: warnings.lines, denied: warnings.denied };
}

interface Reading {
  readonly reader: JunitReader;
  readonly limits: JunitLimits;
  readonly old: OldFiles;
  readonly signal: AbortSignal | undefined;
}

/** @returns a line when something is wrong with the file; "old": it isn't this build's */
async function readReport(base: string, path: string, reading: Reading): Promise<string | undefined> {
  const file = await openInside(base, path);
  if (typeof file === "string") return file;
  await using _ = file;
  const stat = await file.stat({ bigint: true });
  if (reading.old.leavesOut(path, stat)) return "old";
  // The job's disk may fail, or the file may vanish on a server.
  return await readFile(file, Number(stat.size), reading).catch(reason);
}

async function readFile(
  file: FileHandle,
  size: number,
  { reader, limits, signal }: Reading,
): Promise<string | undefined> {
  if (size > limits.maxFileBytes)
    return `it is not read: ${size} bytes are more than the limit of ${limits.maxFileBytes}`;
  if (size === 0) return "it is empty";
  const buffer = Buffer.alloc(64 * 1024);
  let decoder: TextDecoder | undefined;
  const document = reader.document();
  let at = 0;
  while (at < size && !signal?.aborted) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - at), at);
    if (bytesRead === 0) break;
    at += bytesRead;
    const chunk = buffer.subarray(0, bytesRead);
    decoder ??= new TextDecoder(encodingOf(chunk));
    if (!document.write(decoder.decode(chunk, { stream: at < size }))) break;
  }
  if (at < size && signal?.aborted) document.stop(cutShort(signal));
  return document.end();
}

/** By the byte order mark, or by the XML declaration, else UTF-8 (XML 1.0, appendix F). */
function encodingOf(start: Buffer): string {
  const unit = start.toString("hex", 0, 2);
  // "<" in UTF-16: some writers leave the mark out.
  if (unit === "fffe" || unit === "3c00") return "utf-16le";
  if (unit === "feff" || unit === "003c") return "utf-16be";
  const declared = /^<\?xml[^>]*?encoding=["']([A-Za-z0-9._-]{1,40})["']/.exec(
    start.toString("latin1", 0, 200),
  )?.[1];
  try {
    // A file whose declaration reads as single bytes isn't UTF-16, whatever it says.
    return declared && !/^utf-?16/i.test(declared) ? new TextDecoder(declared).encoding : "utf-8";
  } catch {
    return "utf-8";
  }
}
