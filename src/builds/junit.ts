/**
 * Test reports: reads JUnit's XML, in all the ways that test runners write it, from files that may hold
 * anything.
 */
import { type FileHandle, realpath } from "node:fs/promises";
import { JunitReader } from "./junit-reader.ts";
import { findFiles, quote, Warnings } from "./workspace/find.ts";
import { openInside } from "./workspace/workspace.ts";

export type TestStatus = "passed" | "failed" | "error" | "skipped";

export interface TestCase {
  readonly suite: string;
  readonly name: string;
  readonly classname: string;
  /** Seconds. */
  readonly time: number;
  readonly status: TestStatus;
  readonly message?: string;
  /** What the runner wrote about a failure, an error or a skip; cut when it is long. */
  readonly details?: string;
}

export interface TestTotals {
  tests: number;
  failures: number;
  errors: number;
  skipped: number;
  /** Seconds, those of all cases. */
  time: number;
}

export interface TestReport {
  /**
   * Of all cases, also of those that aren't kept. Counted here: what reports say of themselves is often
   * wrong.
   */
  readonly totals: TestTotals;
  readonly cases: TestCase[];
  readonly warnings: string[];
}

export interface JunitLimits {
  readonly files: number;
  /** Bytes of one file; a larger one is not read. */
  readonly fileBytes: number;
  /** Cases kept. */
  readonly cases: number;
  /** Characters of one case's details. */
  readonly details: number;
  /** Characters of all that is kept. */
  readonly text: number;
}

const standard: JunitLimits = {
  files: 1000,
  fileBytes: 10 * 1024 ** 2,
  cases: 10_000,
  details: 16 * 1024,
  text: 8 * 1024 ** 2,
};

/**
 * Reads all reports that the globs match. A file that breaks off or isn't well-formed counts as far as it
 * could be read, and a warning names it. Nothing that a file refers to is ever opened, and no entity of its
 * own is expanded.
 */
export async function readJunit(parts: {
  readonly workspace: string;
  readonly globs: readonly string[];
  readonly limits?: Partial<JunitLimits>;
}): Promise<TestReport> {
  const limits = { ...standard, ...parts.limits };
  const warnings = new Warnings();
  const reader = new JunitReader(limits);
  const base = await realpath(parts.workspace);
  const seen = new Set<string>();
  for (const glob of parts.globs) {
    for await (const path of findFiles(base, glob, warnings)) {
      if (seen.has(path)) continue;
      if (seen.size >= limits.files) {
        warnings.add(`${quote(glob)} matches more than the ${limits.files} reports that are read`);
        break;
      }
      seen.add(path);
      const file = await openInside(base, path);
      const why = typeof file === "string" ? file : await readFile(file, reader, limits);
      if (why) warnings.add(`the test report ${quote(path)}: ${why}`);
    }
  }
  if (reader.dropped > 0)
    warnings.add(`of ${reader.dropped} test cases the details are not kept: there are too many`);
  return { totals: reader.totals, cases: reader.cases, warnings: warnings.lines };
}

/** @returns one line when something is wrong with it */
async function readFile(
  file: FileHandle,
  reader: JunitReader,
  limits: JunitLimits,
): Promise<string | undefined> {
  await using _ = file;
  const { size } = await file.stat();
  if (size > limits.fileBytes) return `not read: it has ${size} bytes, and ${limits.fileBytes} is the limit`;
  if (size === 0) return "it is empty";
  const buffer = Buffer.alloc(64 * 1024);
  let decoder: TextDecoder | undefined;
  const document = reader.document();
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - at), at);
    if (bytesRead === 0) break;
    at += bytesRead;
    const chunk = buffer.subarray(0, bytesRead);
    decoder ??= new TextDecoder(encodingOf(chunk));
    if (!document.write(decoder.decode(chunk, { stream: at < size }))) break;
  }
  return document.end();
}

/** By the byte order mark, or by the XML declaration, else UTF-8 (XML 1.0, appendix F). */
function encodingOf(start: Buffer): string {
  if (start[0] === 0xff && start[1] === 0xfe) return "utf-16le";
  if (start[0] === 0xfe && start[1] === 0xff) return "utf-16be";
  const declared = /^<\?xml[^>]*?encoding=["']([A-Za-z0-9._-]{1,40})["']/.exec(
    start.toString("latin1", 0, 200),
  )?.[1];
  try {
    // A file that can be read as bytes to here isn't UTF-16, whatever it says.
    return declared && !/^utf-?16/i.test(declared) ? new TextDecoder(declared).encoding : "utf-8";
  } catch {
    return "utf-8";
  }
}
