/** The console of a board in U-Boot: stops autoboot, and runs commands one by one, each with its exit code and exact output. */
import { BoardFailure, RunTimeout } from "../../errors.ts";
import type { Console, RunOptions, RunResult } from "../console.ts";
import type { Dialogue } from "../dialogue.ts";
import { Expect } from "../expect.ts";
import { withoutEscapes } from "../plain-text.ts";
import { patternOf, promptTest } from "../prompt.ts";
import { UbootLine } from "./line.ts";

export interface UbootOptions {
  readonly prompt?: string;
  /** The keys that stop autoboot, sent at once. */
  readonly autobootKey?: string;
  /** Returns eight unpredictable characters from a-z and 0-9. */
  readonly token: () => string;
}

/** Between two tries to stop autoboot. The shortest countdown is 1 s, or a single look for keys. */
const keyIntervalMs = 100;
/** After this much silence, the prompt's text at the end of the output may be the prompt. */
const promptSilenceMs = 40;
/** After this much silence, labgear asks whether it missed the prompt. Doubled each time. */
const firstAskMs = 2000;
const interrupt = "\x03";
/** The hush shell's prompt for the rest of a command. */
const continuationPrompt = "> ";

/**
 * A line of a script is a command line, typed once the one before has ended. The first one that fails ends the script with its exit
 * code. A line that leaves an `if` or `for` open continues on the next one, as in U-Boot's hush shell. A prompt counts as the end of
 * a command only if it then answers with `$?`, so the same text in the output stays output. A `reset` on its own line ends at
 * U-Boot's next prompt. A command that starts another system ends the script as rebooted, since no prompt follows.
 */
export class UbootConsole implements Console {
  readonly kind = "u-boot";
  #prompt: string;
  /** Tells the prompt by a pattern, until one has been seen. */
  readonly #isPrompt: ((line: string) => boolean) | undefined;
  readonly #key: string;
  readonly #token: () => string;
  readonly #board = new Expect({ onLine: (line) => this.#boot.line(line.trim()) });
  readonly #line: UbootLine;
  /** Since the last enter(). */
  #boot = new UbootBoot();

  constructor(options: UbootOptions) {
    this.#prompt = options.prompt ?? "=> ";
    this.#isPrompt = patternOf(this.#prompt) === undefined ? undefined : promptTest(this.#prompt);
    this.#key = options.autobootKey ?? " ";
    this.#token = options.token;
    this.#line = new UbootLine(this.#board, this.#prompt);
  }

  *enter(timeoutMs: number): Dialogue<void> {
    const before = this.#board.received;
    if (yield* this.#toPrompt(timeoutMs)) return;
    if (this.#boot.crash) this.#throwIfGone();
    if (this.#boot.kernel)
      throw new BoardFailure("noise", "the board runs a kernel, not U-Boot: reset or power-cycle it first");
    throw this.#board.noPrompt(`U-Boot (${JSON.stringify(this.#prompt)})`, before, this.#key + interrupt);
  }

  *interrupt(timeoutMs: number): Dialogue<boolean> {
    return yield* this.#toPrompt(timeoutMs);
  }

  *run(script: string, options: RunOptions): Dialogue<RunResult> {
    yield* this.#board.read(0);
    const end = this.#board.now + options.timeoutMs;
    const lines = script.split(/\r?\n/).filter((line) => !/^\s*(?:#|$)/.test(line));
    this.#line.damaged = false;
    let complete = true;
    let open = false;
    for (const [index, line] of lines.entries()) {
      this.#throwIfGone();
      this.#board.clear();
      const problem = untypable(line);
      if (problem) return yield* this.#refuse(`line ${index + 1} ${problem}`, complete);
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

  /** Ends the script: it is wrong, and the board isn't. */
  *#refuse(why: string, complete: boolean): Dialogue<RunResult> {
    yield { kind: "note", text: `not run: ${why}` };
    yield* this.#line.newPrompt();
    return { code: 2, complete };
  }

  /** From any state to a prompt that runs commands. */
  *#toPrompt(timeoutMs: number): Dialogue<boolean> {
    const board = this.#board;
    yield* board.read(0);
    this.#boot = new UbootBoot();
    const end = board.now + timeoutMs;
    for (let tick = 0; board.now < end; tick += 1) {
      board.clear();
      yield* board.send(this.#key);
      if (tick % 3 === 0) {
        yield* board.send(interrupt);
        yield* board.silence(60, 3 * keyIntervalMs);
        this.#learnPrompt();
        if (board.buffer.endsWith(this.#prompt) && (yield* this.#line.runsCommands(this.#token()))) {
          this.#boot = new UbootBoot();
          return true;
        }
      }
      // Sends the key as soon as the countdown begins.
      yield* board.expect(/stop autoboot|[Aa]utoboot in/, Math.min(keyIntervalMs, end - board.now));
    }
    return false;
  }

  /** Takes the line that ends the output for the prompt, if it matches the pattern. Colours are a part of it. */
  #learnPrompt(): void {
    const { buffer } = this.#board;
    const line = buffer.slice(buffer.lastIndexOf("\n") + 1).replace(/^\r+/, "");
    if (!this.#isPrompt?.(withoutEscapes(line))) return;
    this.#prompt = line;
    this.#line.prompt = line;
  }

  /** Passes the output on until the command has ended. @returns "open" when the next line belongs to the command */
  *#follow(resets: boolean, end: number): Dialogue<RunResult | "open"> {
    const board = this.#board;
    const token = this.#token();
    let askAfterMs = firstAskMs;
    let lastCame = board.now;
    let received = board.received;
    let complete = true;
    for (let first = true; ; ) {
      if (first && this.#prompt !== continuationPrompt && (yield* this.#isOpen())) return "open";
      const held = board.startOf(this.#prompt);
      const output = yield* board.pass(held);
      first &&= output === "" && held < this.#prompt.length;
      if (this.#boot.rebooted && resets) return yield* this.#afterReset(end);
      this.#throwIfGone();
      if (board.now >= end) throw new RunTimeout("the command exceeded its timeout");
      const isPrompt = board.buffer === this.#prompt && !(yield* board.read(promptSilenceMs));
      const code = isPrompt ? yield* this.#line.exitCode(token) : undefined;
      if (code !== undefined) return { code, complete: complete && !this.#line.damaged };
      if (board.buffer !== this.#prompt || isPrompt) yield* board.read(Math.min(500, end - board.now));
      if (board.received !== received) lastCame = board.now;
      received = board.received;
      if (board.now - lastCame < askAfterMs || board.buffer === this.#prompt) continue;
      askAfterMs *= 2;
      if (!(yield* this.#line.isAtPrompt())) continue;
      complete = false;
      yield { kind: "note", text: "the prompt was damaged on the line: the output may be incomplete" };
      board.buffer = this.#prompt;
    }
  }

  /** Whether the board asks for the rest of the command. */
  *#isOpen(): Dialogue<boolean> {
    const board = this.#board;
    while (board.buffer !== "" && continuationPrompt.startsWith(board.buffer) && (yield* board.read(200)));
    if (board.buffer !== continuationPrompt) return false;
    board.clear();
    return true;
  }

  *#afterReset(end: number): Dialogue<RunResult> {
    yield { kind: "note", text: "the board resets, as the script says" };
    yield* this.enter(Math.max(0, end - this.#board.now));
    return { code: 0, complete: true };
  }

  #throwIfGone(): void {
    const { crash, rebooted, kernel } = this.#boot;
    if (crash) throw new BoardFailure("panic", `U-Boot crashed: ${crash}`);
    if (rebooted) throw new BoardFailure("rebooted", "the board rebooted in the middle of the script");
    if (kernel)
      throw new BoardFailure(
        "rebooted",
        "U-Boot started a kernel, so its prompt is gone: start kernels from steps, with send and expect",
      );
  }
}

/** Looks for the signs that U-Boot starts, crashed, or handed over to a kernel. */
class UbootBoot {
  /** The line that reports the crash. */
  crash: string | undefined;
  rebooted = false;
  kernel = false;
  /** The banner came. `version` prints it too, so it takes another line of a boot. */
  #banner = false;

  line(line: string): void {
    if (
      /^### ERROR ### Please RESET|^"(?:Synchronous Abort|Error)" handler|^(?:data abort|prefetch abort|undefined instruction)$/.test(
        line,
      )
    )
      this.crash ??= line;
    if (/^U-Boot [ST]PL \d{4}\./.test(line)) this.rebooted = true;
    if (/^U-Boot \d{4}\./.test(line)) this.#banner = true;
    else if (this.#banner && /^(?:DRAM|CPU|SoC|Model|Core): |^Hit any key to stop autoboot/.test(line))
      this.rebooted = true;
    if (/^(?:\[ *\d+\.\d+\] )?(?:Booting Linux on physical CPU|Linux version \d)/.test(line))
      this.kernel = true;
  }
}

function untypable(line: string): string | undefined {
  const found = /[^\t -~]/.exec(line)?.[0];
  return found && `contains ${JSON.stringify(found)}, which U-Boot's command line can't take`;
}
