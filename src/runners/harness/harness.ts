/** Reads a firmware's output for its verdict, starting where the image that was just flashed identifies itself. */
import type { VerdictConfig } from "#/config/model.ts";
import { bootIn } from "#/devices/consoles/crash.ts";
import { type Match, OutputMatcher } from "#/devices/consoles/matcher.ts";
import { PlainText } from "#/devices/consoles/plain-text.ts";
import { shown } from "#/lib/text.ts";
import { type Convention, failure, pass, type TestCase, type Verdict } from "./convention.ts";
import { junitReport, Run } from "./run.ts";
import { Tap } from "./tap.ts";
import { Unity } from "./unity.ts";
import { Zephyr } from "./zephyr.ts";

/** Of an unfinished line before the start text. */
const maxHeldLength = 8 * 1024;

/**
 * Reads one run. Time is the caller's business: it keeps feeding for a moment after a pass, since a crash, a reboot or a
 * contradiction turns it into a failure; a failure is final. After the timeout it calls end().
 */
export class Harness {
  readonly #config: VerdictConfig;
  readonly #start: { readonly text: string; readonly pattern: RegExp } | undefined;
  readonly #plain = new PlainText();
  #run: Run;
  /** The unfinished line, until the start text came. */
  #held: string | undefined;

  /** @param start text that the flashed image prints; output before it is the previous image's. Absent: all output is this image's. */
  constructor(config: VerdictConfig, start?: string) {
    this.#config = config;
    this.#run = newRun(config);
    if (start === undefined) return;
    this.#start = { text: start, pattern: startPattern(start) };
    this.#held = "";
  }

  /** Undefined until the firmware reports one. */
  get verdict(): Verdict | undefined {
    return this.#held === undefined ? this.#run.verdict : undefined;
  }

  /** No later output can change the verdict. */
  get isFinal(): boolean {
    return this.#held === undefined && this.#run.isFinal;
  }

  /** The test cases so far. One that never ended is an `error`. */
  get cases(): readonly TestCase[] {
    return this.#held === undefined ? this.#run.convention.cases : [];
  }

  /** The test cases as a JUnit report; undefined when there are none. */
  get junit(): string | undefined {
    return this.cases.length > 0 ? junitReport(this.cases, "firmware") : undefined;
  }

  feed(bytes: Uint8Array): void {
    this.#take(this.#plain.push(bytes));
  }

  /** Nothing came for a while: the unfinished line counts as it stands. */
  quiet(): void {
    this.#take(this.#plain.release());
    if (this.#held === undefined) this.#run.quiet();
  }

  /** Call it when no more output will be read. @returns the verdict; `verdict-missing` when the firmware reported none */
  end(): Verdict {
    this.#take(this.#plain.release());
    if (this.#held === undefined) this.#run.end();
    if (this.verdict) return this.verdict;
    const { missing } = this.#run.convention;
    const never = `${JSON.stringify(this.#start?.text)} never came: the output may be the previous image's`;
    return failure(this.#held === undefined ? missing : never, "verdict-missing");
  }

  #take(text: string): void {
    if (this.#held === undefined || !this.#start) {
      this.#run.feed(text);
      return;
    }
    const held = this.#held + text;
    const found = this.#start.pattern.exec(held);
    if (found) {
      const line = held.lastIndexOf("\n", found.index) + 1;
      this.#before(held.slice(0, line));
      this.#begin(held.slice(line, found.index), this.#start.text);
      this.#held = undefined;
      this.#run.feed(held.slice(found.index + this.#start.text.length));
      return;
    }
    const line = held.lastIndexOf("\n") + 1;
    this.#before(held.slice(0, line));
    this.#held = held.slice(Math.max(line, held.length - maxHeldLength));
  }

  /** Lines before the start text don't count. But Zephyr prints its RunID at the end of a run, so that run is kept from its boot on. */
  #before(text: string): void {
    if (this.#config.kind !== "zephyr") return;
    for (const line of text.split(/(?<=\n)/)) {
      if (bootIn(line)) this.#run = newRun(this.#config);
      this.#run.feed(line);
    }
  }

  /** A run that passed before it identified itself may be another image's. */
  #begin(before: string, start: string): void {
    const line = before + start;
    const known = this.#config.kind === "zephyr" && /^\s*RunID: /.test(line) && !this.#run.verdict?.passed;
    if (!known) this.#run = newRun(this.#config);
    const boot = bootIn(line);
    if (boot) this.#run.boot(boot);
  }
}

/** Matches the text as a whole: `RunID: 4` isn't in `RunID: 42`, so the character after it has to be there. */
function startPattern(text: string): RegExp {
  return new RegExp(
    `${/^\w/.test(text) ? "(?<!\\w)" : ""}${RegExp.escape(text)}${/\w$/.test(text) ? "(?=\\W)" : ""}`,
  );
}

/** Own patterns say what a failure is; the test frameworks don't print a crash. */
function newRun(config: VerdictConfig): Run {
  const faults = config.faults ?? (config.kind === "patterns" ? "ignore" : "fail");
  return new Run(newConvention(config), faults === "fail");
}

function newConvention(config: VerdictConfig): Convention {
  switch (config.kind) {
    case "zephyr":
      return new Zephyr();
    case "unity":
      return new Unity();
    case "tap":
      return new Tap();
    case "patterns":
      return new Patterns(config);
  }
}

class Patterns implements Convention {
  readonly #matcher = new OutputMatcher();
  readonly #fail: readonly string[];
  /** Those that haven't matched yet. All must match, in any order. */
  readonly #pass: Set<string>;
  readonly cases: readonly TestCase[] = [];
  begun = false;

  constructor(patterns: { readonly pass: readonly string[]; readonly fail: readonly string[] }) {
    this.#pass = new Set(patterns.pass);
    this.#fail = patterns.fail;
    this.#matcher.expect(patterns.pass, patterns.fail);
  }

  get missing(): string {
    return `nothing matched ${[...this.#pass].join(" and ")}`;
  }

  /** MCUboot is a Zephyr program too: within one boot, its log lines come between two banners. */
  line(line: string): undefined {
    if (line.trim() !== "" && !/^[IWE]: /.test(line)) this.begun = true;
  }

  text(piece: string): Verdict | undefined {
    return this.#verdict(this.#matcher.feed(Buffer.from(piece)));
  }

  quiet(): Verdict | undefined {
    return this.#verdict(this.#matcher.quiet());
  }

  #verdict(match: Match | undefined): Verdict | undefined {
    if (!match) return undefined;
    const matched = shown(match.text, 200);
    if (match.kind === "fail") return failure(`the \`fail\` pattern matched ${matched}`);
    this.#pass.delete(match.pattern);
    const isPassed = this.#pass.size === 0;
    // A failure still counts after the last of them.
    const later = this.#verdict(this.#matcher.expect([...this.#pass], this.#fail));
    return later ?? (isPassed ? pass(`the output has ${matched}`) : undefined);
  }
}
