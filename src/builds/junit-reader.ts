/** Reads JUnit's XML, as the many test runners write it, in pieces of text that can contain anything: text in, test cases out. */
import { SaxesParser, type SaxesTagPlain } from "saxes";
import { quote } from "./workspace/find.ts";

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

/** What is kept of test cases. */
export interface ReaderLimits {
  readonly maxCases: number;
  /** In characters, for each case. */
  readonly maxDetails: number;
  /** In characters, of all cases together. */
  readonly maxText: number;
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
/** The beginning of a reference, or of a tag, at the end of a chunk. */
const unfinished = /(?:&[\w#.-]{0,32}|<)$/;
/** What begins neither markup nor a reference, as runners that don't escape write it: saxes would take what follows, cases too, for a part. */
const bare = /<(?![\p{L}_:/!?])|&(?!#?[\w.-]{1,32};)/gu;
/** They stand for "<" and "&" while saxes reads: noncharacters, which XML allows and nobody writes. */
const stands: Readonly<Record<string, string>> = { "<": "\ufdd0", "&": "\ufdd1" };
const standsFor: Readonly<Record<string, string>> = { "\ufdd0": "<", "\ufdd1": "&" };

function withoutForbidden(text: string): string {
  const shown = text.replace(reference, (whole, hex?: string, decimal?: string) => {
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    const character = code > 0x10ffff ? "\0" : String.fromCodePoint(code);
    return character.search(forbidden) < 0 ? whole : "\ufffd";
  });
  return shown.replace(forbidden, "\ufffd").replace(bare, (one) => stands[one] ?? one);
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

/** Reads documents one after another, and adds up their test cases. */
export class JunitReader {
  readonly totals: TestTotals = { tests: 0, failures: 0, errors: 0, skipped: 0, time: 0 };
  readonly cases: TestCase[] = [];
  /** Cases that are counted but not kept whole. */
  dropped = 0;
  readonly #limits: ReaderLimits;
  #text = 0;

  constructor(limits: ReaderLimits) {
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
        pending = unfinished.exec(whole)?.[0] ?? "";
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
  return Buffer.from(
    text.slice(0, length).replace(/[\ufdd0\ufdd1]/g, (one) => standsFor[one] ?? one),
    "utf16le",
  ).toString("utf16le");
}
