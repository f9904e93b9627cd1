/**
 * Reads test reports in JUnit's XML, as the many test runners write it, from files that can contain anything.
 */
import type { FileHandle } from "node:fs/promises";
import { SaxesParser, type SaxesTagPlain } from "saxes";
import { reason } from "#/lib/errors.ts";
import { cutShort, realWorkspace } from "./artifacts.ts";
import { openInside } from "./workspace/files.ts";
import { findFiles, quote, Warnings } from "./workspace/find.ts";
import { type BuildPeriod, OldFiles } from "./workspace/period.ts";

export type TestStatus = "passed" | "failed" | "error" | "skipped";

export interface TestCase {
  readonly suite: string;
  readonly name: string;
  readonly classname: string;
  /** Seconds. */
  readonly time: number;
  readonly status: TestStatus;
  readonly message?: string;
  /** The runner's text about a failure, an error or a skip; cut when it is long. */
  readonly details?: string;
}

export interface TestTotals {
  tests: number;
  failures: number;
  errors: number;
  skipped: number;
  /** Seconds, of all cases together. */
  time: number;
}

export interface TestReport {
  /** Of all cases, including those that aren't kept. Counted here: the counts in reports are often wrong. */
  readonly totals: TestTotals;
  readonly cases: TestCase[];
  readonly warnings: string[];
}

export interface JunitLimits {
  readonly maxFiles: number;
  /** A larger file is not read. */
  readonly maxFileBytes: number;
  /** How many cases are kept. */
  readonly maxCases: number;
  /** In characters, for each case. */
  readonly maxDetails: number;
  /** In characters, of all that is kept. */
  readonly maxText: number;
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
 * warning names it. Nothing that a file refers to is opened, and none of its own entities is expanded.
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
}): Promise<TestReport> {
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
      seen.add(path);
      if (why) warnings.add(`the test report ${quote(path)}: ${why}`);
    }
  }
  if (reader.dropped > 0)
    warnings.add(`the details of ${reader.dropped} test cases are not kept: there are too many`);
  for (const line of old.lines) warnings.add(`test reports: ${line}`);
  if (signal?.aborted) warnings.add(`${cutShort(signal)}; some test reports are not read`);
  return { totals: reader.totals, cases: reader.cases, warnings: warnings.lines };
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

const maxDepth = 100;
const maxName = 500;
const maxMessage = 2000;
/** After so many faults the rest of a file is skipped. */
const maxFaults = 10_000;

/** What XML 1.0 forbids (2.2, Char), as runners let it through from the output of tests: raw, or as a reference. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const forbidden = /[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|\p{Cs}/gu;
const reference = /&#(?:x([0-9a-f]{1,8})|([0-9]{1,8}));/gi;
/** The beginning of a reference, at the end of a chunk. */
const openReference = /&(?:#[0-9a-fx]{0,9})?$/i;

function withoutForbidden(text: string): string {
  const shown = text.replace(reference, (whole, hex?: string, decimal?: string) => {
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    const character = code > 0x10ffff ? "\0" : String.fromCodePoint(code);
    return character.search(forbidden) < 0 ? whole : "\ufffd";
  });
  return shown.replace(forbidden, "\ufffd");
}

/**
 * The elements that say how a case ended. Surefire's reruns (`rerunFailure`, `flakyError` …) are not among them: such a case
 * passed in the end.
 */
const outcomes: Readonly<Record<string, TestStatus>> = {
  failure: "failed",
  error: "error",
  skipped: "skipped",
};

interface OpenCase {
  readonly suite: string;
  readonly name: string;
  readonly classname: string;
  readonly time: number;
  status: TestStatus;
  message?: string;
  details?: string;
  /** The name of its element that is being read. */
  outcome?: string;
}

export interface JunitDocument {
  /** @returns false when the rest would be skipped */
  write(text: string): boolean;
  /** The rest isn't read, for this reason. */
  stop(why: string): void;
  /** @returns a line when something was wrong with the document */
  end(): string | undefined;
}

/**
 * Reads documents one after another, and adds up their test cases.
 * @internal
 */
export class JunitReader {
  readonly totals: TestTotals = { tests: 0, failures: 0, errors: 0, skipped: 0, time: 0 };
  readonly cases: TestCase[] = [];
  /** Cases that are counted but not kept whole. */
  dropped = 0;
  readonly #limits: JunitLimits;
  #text = 0;

  constructor(limits: JunitLimits) {
    this.#limits = limits;
  }

  /**
   * Starts a document. saxes expands XML's own five entities, none that a document declares, and fetches nothing.
   */
  document(): JunitDocument {
    const parser = new SaxesParser({ xmlns: false, position: true });
    const suites: string[] = [];
    let depth = 0;
    let faults = 0;
    let fault: string | undefined;
    /** Why the rest isn't read. */
    let stopped: string | undefined;
    let pending = "";
    let cases = 0;
    /** The innermost last: runners with subtests nest them. */
    const open: OpenCase[] = [];
    const keepText = (text: string) => {
      const current = open.at(-1);
      if (!current?.outcome) return;
      const room = this.#limits.maxDetails - (current.details?.length ?? 0);
      if (room > 0) current.details = (current.details ?? "") + own(text, room);
    };

    parser.on("error", ({ message }) => {
      faults += 1;
      if (faults >= maxFaults) stopped = `it has more than ${maxFaults} faults`;
      // It starts with line and column, and can end with a piece of the document.
      fault ??= quote(message.replace(/^(\d+):(\d+): /, "line $1, column $2: ")).slice(1, -1);
    });
    parser.on("opentag", (tag: SaxesTagPlain) => {
      depth += 1;
      if (depth > maxDepth) throw new TooDeep();
      const { name, attributes } = tag;
      if (name === "testsuite") suites.push(own(attributes.name ?? "", maxName));
      else if (name === "testcase") {
        cases += 1;
        open.push(openCase(suites.at(-1) ?? "", attributes));
        return;
      }
      const current = open.at(-1);
      if (current && Object.hasOwn(outcomes, name)) {
        current.outcome = name;
        // After a failure comes an error of the tear-down: the first one counts, unless it was a skip.
        if (current.status === "passed" || current.status === "skipped")
          current.status = outcomes[name] ?? "failed";
        if (attributes.message) current.message ??= own(attributes.message, maxMessage);
      }
    });
    parser.on("text", keepText);
    parser.on("cdata", keepText);
    parser.on("closetag", ({ name }: SaxesTagPlain) => {
      depth -= 1;
      const current = open.at(-1);
      if (current && name === current.outcome) delete current.outcome;
      else if (name === "testsuite") suites.pop();
      else if (name === "testcase" && current) {
        open.pop();
        this.#add(current);
      }
    });

    return {
      write(text) {
        if (stopped !== undefined) return false;
        const whole = pending + text;
        pending = openReference.exec(whole)?.[0] ?? "";
        try {
          parser.write(withoutForbidden(whole.slice(0, whole.length - pending.length)));
        } catch (error) {
          if (!(error instanceof TooDeep)) throw error;
          stopped = `elements are nested more than ${maxDepth} deep`;
        }
        return stopped === undefined;
      },
      stop(why) {
        stopped ??= why;
      },
      end: () => {
        if (stopped !== undefined)
          return `it isn't read to its end: ${stopped}${fault ? `; the first is: ${fault}` : ""}`;
        if (pending !== "") parser.write(pending);
        parser.close();
        // The test runner died inside a case.
        for (const current of open.reverse())
          this.#add({ ...current, status: current.status === "passed" ? "error" : current.status });
        if (fault) return `not well-formed: ${fault}`;
        return cases === 0 && suites.length === 0 ? "it contains no test cases" : undefined;
      },
    };
  }

  #add(one: OpenCase): void {
    this.totals.tests += 1;
    this.totals.time = Math.round((this.totals.time + one.time) * 1e6) / 1e6;
    if (one.status === "failed") this.totals.failures += 1;
    if (one.status === "error") this.totals.errors += 1;
    if (one.status === "skipped") this.totals.skipped += 1;
    const details = one.details?.trim();
    const size = one.suite.length + one.name.length + one.classname.length + (one.message?.length ?? 0);
    if (this.cases.length >= this.#limits.maxCases || this.#text + size > this.#limits.maxText) {
      this.dropped += 1;
      return;
    }
    const { details: _details, outcome: _outcome, ...rest } = one;
    const fits = details && this.#text + size + details.length <= this.#limits.maxText;
    if (details && !fits) this.dropped += 1;
    this.#text += size + (fits ? details.length : 0);
    this.cases.push(fits ? { ...rest, details } : rest);
  }
}

class TooDeep extends Error {}

function openCase(suite: string, attributes: Readonly<Record<string, string>>): OpenCase {
  // GoogleTest writes this for tests that are disabled or filtered out.
  const skipped = attributes.status === "notrun" || attributes.result === "skipped";
  return {
    suite,
    name: own(attributes.name ?? "", maxName),
    classname: own(attributes.classname ?? "", maxName),
    time: seconds(attributes.time),
    status: skipped ? "skipped" : "passed",
  };
}

/** Surefire writes "1,234.5". */
function seconds(text = ""): number {
  const value = Number(text.replaceAll(",", "").trim());
  return Number.isFinite(value) && value > 0 && value < 1e9 ? value : 0;
}

/** A copy of a text's beginning; a slice would keep the whole report in memory. */
function own(text: string, length: number): string {
  return Buffer.from(text.slice(0, length), "utf16le").toString("utf16le");
}
