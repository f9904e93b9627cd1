/** Reads a firmware's output for a verdict, from the text on by which the image that was flashed makes itself known. */
import type { VerdictConfig } from "#/config/model.ts";
import { bootIn } from "#/devices/consoles/crash.ts";
import { PlainText } from "#/devices/consoles/plain-text.ts";
import { type Convention, failure, type TestCase, type Verdict, type VerdictReader } from "./harness.ts";
import { Patterns } from "./patterns.ts";
import { Run } from "./run.ts";
import { Tap } from "./tap.ts";
import { Unity } from "./unity.ts";
import { Zephyr } from "./zephyr.ts";

export interface ReaderOptions {
  /** Text that the flashed image prints; what comes before it is the last image's. Absent: all that is fed is this image's. */
  readonly start?: string;
}

/** A reader for one run; feed it from the end of flashing on, or earlier with `start`. */
export function newVerdictReader(config: VerdictConfig, options: ReaderOptions = {}): VerdictReader {
  return new Reader(config, options.start);
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

/** What isn't a whole line yet, before the start. */
const maxHeld = 8 * 1024;

class Reader implements VerdictReader {
  readonly #config: VerdictConfig;
  readonly #start: { readonly text: string; readonly pattern: RegExp } | undefined;
  readonly #plain = new PlainText();
  #run: Run;
  /** The unfinished line, until the start came. */
  #held: string | undefined;

  constructor(config: VerdictConfig, start: string | undefined) {
    this.#config = config;
    this.#run = new Run(newConvention(config));
    if (start === undefined) return;
    this.#start = { text: start, pattern: startPattern(start) };
    this.#held = "";
  }

  get verdict(): Verdict | undefined {
    return this.#held === undefined ? this.#run.verdict : undefined;
  }

  get cases(): readonly TestCase[] {
    return this.#held === undefined ? this.#run.convention.cases : [];
  }

  feed(bytes: Uint8Array): void {
    this.#take(this.#plain.push(bytes));
  }

  quiet(): void {
    this.#take(this.#plain.release());
    if (this.#held === undefined) this.#run.quiet();
  }

  end(): Verdict {
    this.quiet();
    if (this.verdict) return this.verdict;
    const { missing } = this.#run.convention;
    const never = `${JSON.stringify(this.#start?.text)} never came: what the board printed may be the last image's`;
    return failure(this.#held === undefined ? missing : never, "verdict-missing");
  }

  #take(text: string): void {
    if (this.#held === undefined || !this.#start) {
      this.#run.text(text);
      return;
    }
    const held = this.#held + text;
    const found = this.#start.pattern.exec(held);
    if (found) {
      const line = held.lastIndexOf("\n", found.index) + 1;
      this.#before(held.slice(0, line));
      this.#begin(held.slice(line, found.index), this.#start.text);
      this.#held = undefined;
      this.#run.text(held.slice(found.index + this.#start.text.length));
      return;
    }
    const line = held.lastIndexOf("\n") + 1;
    this.#before(held.slice(0, line));
    this.#held = held.slice(Math.max(line, held.length - maxHeld));
  }

  /** Lines before the start count for nothing, except that zephyr's RunID is at the end of its run: that run is kept, from its boot. */
  #before(text: string): void {
    if (this.#config.kind !== "zephyr") return;
    for (const line of text.split(/(?<=\n)/)) {
      if (bootIn(line)) this.#run = new Run(newConvention(this.#config));
      this.#run.text(line);
    }
  }

  /** A run that said how it ended before it made itself known may be another image's: it isn't believed. */
  #begin(before: string, start: string): void {
    const line = before + start;
    const known = this.#config.kind === "zephyr" && /^\s*RunID: /.test(line) && !this.#run.verdict?.passed;
    if (!known) this.#run = new Run(newConvention(this.#config));
    const boot = bootIn(line);
    if (boot) this.#run.boot(boot);
  }
}

/** The text as a whole: `RunID: 4` isn't in `RunID: 42`, which is why the character after it has to be there. */
function startPattern(text: string): RegExp {
  const escaped = text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  return new RegExp(`${/^\w/.test(text) ? "(?<!\\w)" : ""}${escaped}${/\w$/.test(text) ? "(?=\\W)" : ""}`);
}
