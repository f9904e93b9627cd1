/** One run of an image: its convention's lines, its crashes and reboots, and what they add up to as a verdict and a JUnit report. */
import { bootIn, crashIn } from "#/devices/consoles/crash.ts";
import { type Convention, failure, type TestCase, type Verdict } from "./convention.ts";

/** A longer line can't be a test's, and is only searched for a crash. */
const maxLineLength = 8 * 1024;

/** Linux (printk.time, printk.caller, a priority) and Zephyr's log put this in front of a line. */
const timeStamp =
  /^(?:<\d{1,3}>)?\[ *\d+\.\d{6}\](?:\[ *[CT]\d+\])? |^\[\d\d:\d\d:\d\d\.\d{3},\d{3}\] (?:<\w{3}> [\w.-]+: )?/;

export class Run {
  readonly convention: Convention;
  /** Crashes and reboots fail the run. */
  readonly #faults: boolean;
  readonly #boots = new Set<string>();
  #line = "";
  /** Until a line feed comes, carriage returns end lines; afterwards they may be damage within a line. */
  #hasLineFeeds = false;
  /** Of the unfinished line, until more output comes. */
  #tentative: Verdict | undefined;
  /** The beginning of the line was dropped. */
  #cut = false;
  #verdict: Verdict | undefined;

  constructor(convention: Convention, faults: boolean) {
    this.convention = convention;
    this.#faults = faults;
  }

  get verdict(): Verdict | undefined {
    return this.#verdict ?? this.#tentative;
  }

  /** No later output can change the verdict. */
  get isFinal(): boolean {
    return this.#verdict?.passed === false;
  }

  /** @param text output, cut anywhere */
  feed(text: string): void {
    if (text === "") return;
    this.#tentative = undefined;
    for (let at = 0; at < text.length; ) {
      const ends = this.#hasLineFeeds ? /\n/g : /[\r\n]/g;
      ends.lastIndex = at;
      const isWhole = ends.test(text);
      const end = isWhole ? ends.lastIndex : text.length;
      this.#hasLineFeeds ||= isWhole && text[end - 1] === "\n";
      this.#piece(text.slice(at, end), isWhole);
      at = end;
    }
  }

  /** Firmware that waits or hangs doesn't end its last line. */
  quiet(): void {
    this.#settle(this.convention.quiet?.());
    if (this.#verdict || this.#cut) return;
    const line = plainLine(this.#line);
    const crash = this.#faults ? crashIn(line) : undefined;
    this.#tentative = crash ? failure(crash, "panic") : this.convention.unfinished?.(line);
  }

  /** The unfinished line counts as whole if it brought a verdict. */
  end(): void {
    if (this.#tentative) this.feed("\n");
    this.#settle(this.convention.quiet?.());
  }

  /** A boot after the run has begun, or a second boot of the same kind, cuts the run off. */
  boot(name: string): void {
    if (!this.#faults) return;
    if (this.#boots.has(name) ? this.convention.begun : this.convention.begun && this.#boots.size === 0)
      this.#settle(failure(`${name} restarted in the middle of the run`, "rebooted"));
    this.#boots.add(name);
  }

  #piece(piece: string, whole: boolean): void {
    this.#line += whole ? piece.slice(0, -1) : piece;
    const line = whole ? plainLine(this.#line) : this.#line;
    const isSearched = this.#faults && (whole || line.length > maxLineLength);
    const crash = isSearched ? crashIn(line) : undefined;
    if (crash) this.#settle(failure(crash, "panic"));
    if (whole) {
      const boot = bootIn(line);
      if (boot) this.boot(boot);
      else if (!this.#cut) this.#settle(this.convention.line(line));
      this.#line = "";
      this.#cut = false;
    } else if (this.#line.length > maxLineLength) {
      this.#line = this.#line.slice(-200);
      this.#cut = true;
    }
    this.#settle(this.convention.text?.(piece));
  }

  /** A failure is final; a pass can still become one. */
  #settle(verdict: Verdict | undefined): void {
    if (!verdict || this.#verdict?.passed === false) return;
    if (!verdict.passed || !this.#verdict) this.#verdict = verdict;
  }
}

/** Lines may end with a line feed and a carriage return, in this order. */
function plainLine(line: string): string {
  return line.replace(/^\r+/, "").replace(timeStamp, "");
}

const elements = { failed: "failure", error: "error", skipped: "skipped" } as const;

/**
 * Writes the test cases as a JUnit report. The board's text is escaped, and characters that XML 1.0 forbids become U+FFFD.
 * @param suite for cases without one
 */
export function junitReport(cases: readonly TestCase[], suite: string): string {
  const suites = new Map<string, TestCase[]>();
  for (const one of cases) {
    const name = one.suite || suite;
    const members = suites.get(name);
    if (members) members.push(one);
    else suites.set(name, [one]);
  }
  const body = [...suites].map(([name, members]) => suiteElement(name, members)).join("");
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n${body}</testsuites>\n`;
}

function suiteElement(name: string, cases: readonly TestCase[]): string {
  const count = (status: TestCase["status"]) => cases.filter((one) => one.status === status).length;
  const time = cases.reduce((sum, one) => sum + one.time, 0).toFixed(3);
  const counts = `tests="${cases.length}" failures="${count("failed")}" errors="${count("error")}" skipped="${count("skipped")}"`;
  const body = cases.map((one) => caseElement(name, one)).join("");
  return `  <testsuite name="${xmlText(name)}" ${counts} time="${time}">\n${body}  </testsuite>\n`;
}

function caseElement(suite: string, one: TestCase): string {
  const open = `    <testcase classname="${xmlText(one.classname ?? suite)}" name="${xmlText(one.name)}" time="${one.time.toFixed(3)}"`;
  if (one.status === "passed") return `${open}/>\n`;
  const element = elements[one.status];
  const message = one.message === undefined ? "" : ` message="${xmlText(one.message)}"`;
  return `${open}><${element}${message}>${xmlText(one.details ?? "")}</${element}></testcase>\n`;
}

const names: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** In an attribute, a parser would read a plain line end as a space. */
function xmlText(text: string): string {
  return text
    .toWellFormed()
    .replace(/[^\t\n\r\x20-\uFFFD\u{10000}-\u{10FFFF}]/gu, "\uFFFD")
    .replace(/[&<>"]/g, (char) => names[char] ?? "")
    .replace(/[\t\n\r]/g, (char) => `&#${char.charCodeAt(0)};`);
}
