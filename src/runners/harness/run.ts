/** One run of an image: its convention's lines, its crashes and reboots, and what they add up to as a verdict and a JUnit report. */
import { bootIn, crashIn } from "#/devices/consoles/crash.ts";
import { type Convention, failure, type TestCase, type Verdict } from "./convention.ts";

/** A longer line can't be a test's, and is only searched for a crash. */
const maxLineLength = 8 * 1024;

export class Run {
  readonly convention: Convention;
  readonly #boots = new Set<string>();
  #line = "";
  /** The beginning of the line was dropped. */
  #cut = false;
  #verdict: Verdict | undefined;

  constructor(convention: Convention) {
    this.convention = convention;
  }

  get verdict(): Verdict | undefined {
    return this.#verdict;
  }

  /** @param text output, cut anywhere */
  feed(text: string): void {
    for (let at = 0; at < text.length; ) {
      const newline = text.indexOf("\n", at);
      const end = newline < 0 ? text.length : newline + 1;
      this.#piece(text.slice(at, end), newline >= 0);
      at = end;
    }
  }

  quiet(): void {
    this.#settle(this.convention.quiet?.());
  }

  /** A boot after the run has begun, or a second boot of the same kind, cuts the run off. */
  boot(name: string): void {
    if (this.#boots.has(name) ? this.convention.begun : this.convention.begun && this.#boots.size === 0)
      this.#settle(failure(`${name} restarted in the middle of the run`, "rebooted"));
    this.#boots.add(name);
  }

  #piece(piece: string, whole: boolean): void {
    this.#line += whole ? piece.slice(0, -1) : piece;
    const crash = whole || this.#line.length > maxLineLength ? crashIn(this.#line) : undefined;
    if (crash) this.#settle(failure(crash, "panic"));
    if (whole) {
      const boot = bootIn(this.#line);
      if (boot) this.boot(boot);
      else if (!this.#cut) this.#settle(this.convention.line(this.#line));
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
  const open = `    <testcase classname="${xmlText(suite)}" name="${xmlText(one.name)}" time="${one.time.toFixed(3)}"`;
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
