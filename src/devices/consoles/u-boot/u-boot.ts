/** Speaks with U-Boot: stops its autoboot, and runs commands one by one, each with its exit code and its exact output. */
import { BoardFailure, RunTimeout } from "../../errors.ts";
import type { Console, RunOptions, RunResult } from "../console.ts";
import type { Dialogue } from "../dialogue.ts";
import { Ear, output, overlap } from "../expect.ts";
import { UbootLine } from "./line.ts";
import { UbootWatch } from "./watch.ts";

export interface UbootOptions {
  readonly prompt?: string;
  /** What stops the autoboot, sent as one. */
  readonly autobootKey?: string;
  /** Eight characters from a-z and 0-9 that nobody can foretell. */
  readonly token: () => string;
}

/** Milliseconds between two tries to stop the autoboot; the shortest count-down that can be set is 1 s, or 0 with a look for keys. */
const keyPause = 100;
/** Milliseconds of silence after which a prompt's text at the end may be one. */
const settled = 40;
/** Milliseconds of silence until it is asked whether the prompt was missed; each time twice as many. */
const firstPatience = 2000;
const interrupt = "\x03";
/** Hush prompts so for the rest of a command. */
const continued = "> ";

/**
 * Each line of a script is one command line, typed when the one before has ended, and the first that fails ends the script with its
 * code. Lines that an `if` or `for` leaves open go on in the next line, as U-Boot's own hush has it. A command's end is told by the
 * prompt and proved by asking for `$?`, so a prompt's text in the output is output. `reset` as a whole line is done when U-Boot's prompt is there
 * again; what starts another system ends the run as rebooted, since there is no prompt any more.
 */
export class UbootConsole implements Console {
  readonly kind = "u-boot";
  readonly #prompt: string;
  readonly #key: string;
  readonly #token: () => string;
  readonly #ear = new Ear((text) => this.#watch.text(text));
  readonly #line: UbootLine;
  /** Of what came since the last enter(). */
  #watch = new UbootWatch();

  constructor(options: UbootOptions) {
    this.#prompt = options.prompt ?? "=> ";
    this.#key = options.autobootKey ?? " ";
    this.#token = options.token;
    this.#line = new UbootLine(this.#ear, this.#prompt);
  }

  *enter(timeout: number): Dialogue<void> {
    const before = this.#ear.heard;
    if (yield* this.#reach(timeout)) return;
    if (this.#watch.crash) this.#judge();
    if (this.#watch.kernel)
      throw new BoardFailure(
        "noise",
        "a kernel runs where U-Boot's prompt is expected: reset the board or switch it off first",
      );
    throw this.#ear.lost(`U-Boot (${JSON.stringify(this.#prompt)})`, before);
  }

  *interrupt(timeout: number): Dialogue<boolean> {
    return yield* this.#reach(timeout);
  }

  *run(script: string, options: RunOptions): Dialogue<RunResult> {
    yield* this.#ear.read(0);
    const end = this.#ear.now + options.timeout;
    const lines = script.split(/\r?\n/).filter((line) => !/^\s*(?:#|$)/.test(line));
    this.#line.damaged = false;
    let complete = true;
    let open = false;
    for (const [index, line] of lines.entries()) {
      this.#judge();
      this.#ear.clear();
      const refused = unfit(line);
      if (refused) return yield* this.#refuse(`line ${index + 1} ${refused}`, complete);
      const typed = yield* this.#line.type(line.replaceAll("\t", " "));
      if (typed !== "typed")
        return yield* this.#refuse(`line ${index + 1} has ${line.length} characters: ${typed}`, complete);
      yield* this.#line.enter();
      const result = yield* this.#follow(line.trim() === "reset", end);
      open = result === "open";
      if (result === "open") continue;
      complete &&= result.complete;
      if (result.code !== 0) return { code: result.code, complete };
    }
    if (open)
      return yield* this.#refuse("the script ends inside a command: a quote, if or for is open", complete);
    return { code: 0, complete };
  }

  /** The job's fault, not the board's. */
  *#refuse(why: string, complete: boolean): Dialogue<RunResult> {
    yield { kind: "note", text: `not run: ${why}` };
    yield* this.#line.fresh();
    return { code: 2, complete };
  }

  /** To a prompt that answers, from wherever the board is. */
  *#reach(timeout: number): Dialogue<boolean> {
    const ear = this.#ear;
    yield* ear.read(0);
    this.#watch = new UbootWatch();
    const end = ear.now + timeout;
    for (let tick = 0; ear.now < end; tick += 1) {
      ear.clear();
      yield* ear.write(this.#key);
      if (tick % 3 === 0) {
        yield* ear.write(interrupt);
        yield* ear.silence(60, 3 * keyPause);
        if (ear.text.endsWith(this.#prompt) && (yield* this.#line.answers(this.#token()))) {
          this.#watch = new UbootWatch();
          return true;
        }
      }
      // The key goes out at once when the count-down begins.
      yield* ear.until(/stop autoboot|[Aa]utoboot in/, Math.min(keyPause, end - ear.now));
    }
    return false;
  }

  /** Gives the output on until the command has ended. @returns its exit code, or that the next line belongs to it */
  *#follow(resets: boolean, end: number): Dialogue<RunResult | "open"> {
    const ear = this.#ear;
    const token = this.#token();
    let patience = firstPatience;
    let lastCame = ear.now;
    let heard = ear.heard;
    let complete = true;
    for (let fresh = true; ; ) {
      if (fresh && this.#prompt !== continued && (yield* this.#isOpen())) return "open";
      const held = overlap(ear.text, this.#prompt);
      const out = ear.take(ear.text.length - held);
      fresh &&= out === "" && held < this.#prompt.length;
      yield* output(out);
      if (this.#watch.rebooted && resets) return yield* this.#again(end);
      this.#judge();
      if (ear.now >= end) throw new RunTimeout("the command takes too long");
      const isPrompt = ear.text === this.#prompt && !(yield* ear.read(settled));
      const code = isPrompt ? yield* this.#line.code(token) : undefined;
      if (code !== undefined) return { code, complete: complete && !this.#line.damaged };
      if (ear.text !== this.#prompt || isPrompt) yield* ear.read(Math.min(500, end - ear.now));
      if (ear.heard !== heard) lastCame = ear.now;
      heard = ear.heard;
      if (ear.now - lastCame < patience || ear.text === this.#prompt) continue;
      // Its prompt may have been damaged on the way: then a space comes back.
      patience *= 2;
      if (!(yield* this.#line.listens())) continue;
      complete = false;
      yield { kind: "note", text: "the prompt was damaged: the output may be incomplete" };
      ear.text = this.#prompt;
    }
  }

  /** Whether the command's first words are the prompt for the rest of it. */
  *#isOpen(): Dialogue<boolean> {
    const ear = this.#ear;
    while (ear.text !== "" && continued.startsWith(ear.text) && (yield* ear.read(200)));
    if (ear.text !== continued) return false;
    ear.clear();
    return true;
  }

  *#again(end: number): Dialogue<RunResult> {
    yield { kind: "note", text: "the board resets, as it was told" };
    yield* this.enter(Math.max(0, end - this.#ear.now));
    return { code: 0, complete: true };
  }

  #judge(): void {
    const watch = this.#watch;
    if (watch.crash) throw new BoardFailure("panic", `U-Boot stopped: ${watch.crash}`);
    if (watch.rebooted) throw new BoardFailure("rebooted", "U-Boot started anew in the middle of the work");
    if (watch.kernel)
      throw new BoardFailure(
        "rebooted",
        "U-Boot handed over to a kernel, and there is no prompt any more: start one by steps with send and expect",
      );
  }
}

function unfit(line: string): string | undefined {
  const strange = /[^\t -~]/.exec(line)?.[0];
  return (
    strange && `has the character ${JSON.stringify(strange)}, which can't be typed on U-Boot's command line`
  );
}
