/** The console of a board with a small shell: runs a script's lines one by one, each with its exit code, up to the first that fails. */
import { BoardFailure, RunTimeout } from "../../errors.ts";
import type { Console, RunOptions, RunResult } from "../console.ts";
import { crashIn } from "../crash.ts";
import type { Dialogue } from "../dialogue.ts";
import { Expect, type TextFilter } from "../expect.ts";
import { unfinishedEscape, withoutEscapes } from "../plain-text.ts";
import { promptTest } from "../prompt.ts";
import { type Dialect, type DialectName, dialects } from "./dialects.ts";
import { echoTimeoutMs, maxAttempts, promptSilenceMs, ShellLine } from "./line.ts";

export interface PromptShellOptions {
  /** The board's own prompt, if it isn't the usual one. */
  readonly prompt?: string;
  /** The keys that stop barebox's countdown, and bring a prompt. */
  readonly wake?: string;
}

/** Between two attempts to get a prompt. */
const wakeIntervalMs = 300;
/** After this much silence without a prompt, that may have been damaged. */
const firstProbeMs = 2000;
/** Of a prompt, what stays the same, and how long it may be. */
const stemLength = 3;
const maxPromptLength = 120;
/** More of them than can come back. */
const probes = "        ";
const answerTimeoutMs = 5000;
/** Barebox has started it. */
const kernel = /^(?:\[ *\d+\.\d+\] )?(?:Booting Linux on physical CPU|Linux version \d)/;
const damagedPrompt = "the prompt was damaged on the line: the output may be incomplete";

/**
 * A line is typed in step with its echo, and ended once the echo is right. The prompt's text ends a command only if the shell then
 * answers with the exit code; an answer that doesn't come right is an unknown exit code, and never taken for 0. Escape sequences
 * aren't part of the output: these shells colour their prompts and redraw the line under each message of a log.
 */
export class PromptShellConsole implements Console {
  readonly kind: DialectName;
  readonly #dialect: Dialect;
  readonly #wake: string;
  readonly #isPrompt: (line: string) => boolean;
  readonly #board = new Expect({ filter: new EscapeFilter(), onLine: (line) => this.#onLine(line) });
  readonly #line: ShellLine;
  #crash: string | undefined;
  #hasBooted = false;
  /** How many lines of a boot came. */
  #bootLines = 0;

  constructor(kind: DialectName, { prompt, wake }: PromptShellOptions = {}) {
    this.kind = kind;
    this.#dialect = dialects[kind];
    this.#line = new ShellLine(this.#board, this.#dialect.discard);
    this.#wake = wake ?? this.#dialect.wake;
    this.#isPrompt = prompt === undefined ? (line) => this.#dialect.prompt.test(line) : promptTest(prompt);
  }

  *enter(timeoutMs: number): Dialogue<void> {
    const before = this.#board.received;
    if (yield* this.#toPrompt(timeoutMs)) return;
    if (this.#crash !== undefined) this.#throwIfGone();
    throw this.#board.noPrompt(this.#dialect.name, before, this.#wake);
  }

  *interrupt(timeoutMs: number): Dialogue<boolean> {
    const board = this.#board;
    yield* board.read(0);
    yield* board.send("\x03");
    return yield* this.#toPrompt(timeoutMs);
  }

  *run(script: string, options: RunOptions): Dialogue<RunResult> {
    const board = this.#board;
    yield* board.read(0);
    const end = board.now + options.timeoutMs;
    let complete = true;
    let isOpen = false;
    const lines = script.split(/\r?\n/).filter((line) => !/^\s*(?:#|$)/.test(line));
    for (const [index, line] of lines.entries()) {
      const found = /[^\t -~]/.exec(line)?.[0];
      if (found !== undefined)
        return yield* this.#refuse(`line ${index + 1} contains ${JSON.stringify(found)}`, complete);
      if (!(yield* this.#typeCommand(line.replaceAll("\t", " "))))
        return yield* this.#refuse(`line ${index + 1} is too long for this shell`, complete);
      const result = yield* this.#follow(end);
      isOpen = result === "open";
      if (result === "open") continue;
      complete &&= result.complete;
      if (result.code !== 0) return { code: result.code, complete };
    }
    if (isOpen) return yield* this.#refuse("the script ends inside a command", complete);
    return { code: 0, complete };
  }

  /** Ends the script: it is wrong, and the board isn't. */
  *#refuse(why: string, complete: boolean): Dialogue<RunResult> {
    yield { kind: "note", text: `not run: ${why}` };
    yield* this.#line.discard();
    return { code: 2, complete };
  }

  /** From any state to a prompt that answers. */
  *#toPrompt(timeoutMs: number): Dialogue<boolean> {
    const board = this.#board;
    yield* board.read(0);
    const end = board.now + timeoutMs;
    while (board.now < end) {
      board.clear();
      yield* board.send(this.#wake);
      yield* board.silence(promptSilenceMs, Math.min(wakeIntervalMs, end - board.now));
      const line = board.buffer.slice(board.buffer.lastIndexOf("\n") + 1).replace(/^\r+/, "");
      if (line !== "" && this.#isPrompt(line) && (yield* this.#answers(line))) return true;
      yield* board.read(Math.min(wakeIntervalMs, Math.max(0, end - board.now)));
    }
    return false;
  }

  /** Whether a line is the prompt of a shell that tells exit codes. */
  *#answers(prompt: string): Dialogue<boolean> {
    const board = this.#board;
    this.#line.prompt = prompt;
    board.buffer = prompt;
    this.#crash = undefined;
    this.#hasBooted = false;
    this.#bootLines = 0;
    const { ask, lacks, name } = this.#dialect;
    if ((yield* this.#line.type(ask)) !== "typed") {
      yield* this.#line.discard(ask.length);
      return false;
    }
    const code = yield* this.#readAnswer(board.now + answerTimeoutMs);
    if (code !== undefined) return true;
    if (lacks?.sign.test(board.buffer))
      throw new BoardFailure("mismatch", `the ${name} shell doesn't tell exit codes: ${lacks.remedy}`);
    return false;
  }

  /** At the prompt; tries until the echo is right. @returns false when the shell takes no line of this length */
  *#typeCommand(line: string): Dialogue<boolean> {
    const board = this.#board;
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      this.#throwIfGone();
      board.buffer = this.#line.prompt;
      const typed = yield* this.#line.type(line);
      if (typed === "typed") {
        yield* this.#line.enter(line);
        return true;
      }
      yield* this.#line.discard(line.length);
      if (typed === "full" && attempt > 1) return false;
    }
    throw new BoardFailure("noise", "the echo of typed text is wrong: the line loses or damages characters");
  }

  /**
   * Passes the output on until the command has ended. Then a space comes back behind the prompt; typed too early, it waits in the
   * board's input, and harms nothing.
   * @returns "open" when the next line belongs to the command
   */
  *#follow(end: number): Dialogue<RunResult | "open"> {
    const board = this.#board;
    let prompt = this.#line.prompt;
    const { continuation, ask } = this.#dialect;
    let complete = true;
    let isFirst = true;
    /** The space that was typed last, and what stood at the end of the output then: perhaps a damaged prompt. */
    let probe: { readonly text: string; readonly at: number } | undefined;
    let attempts = 0;
    let lastCame = board.now;
    for (;;) {
      if (isFirst && continuation !== undefined && board.buffer === continuation) {
        if (!(yield* board.read(200))) return "open";
        continue;
      }
      const isOpening = isFirst && continuation?.startsWith(board.buffer) === true;
      const isProbed = probe !== undefined;
      const isWhole = isProbed && isSpaces(board.buffer, prompt);
      const isLost = !isWhole && probe !== undefined && isSpaces(board.buffer, probe.text);
      const isProved = isWhole || isLost;
      const line = board.buffer.slice(board.buffer.lastIndexOf("\n") + 1);
      // A prompt may show the folder, which a command changes.
      const isLike = line.startsWith(prompt.slice(0, stemLength)) && line.length < maxPromptLength;
      const begun = Math.max(board.startOf(isProbed ? prompt + probes : prompt), isLike ? line.length : 0);
      const held = isProved ? board.buffer.length : begun;
      if (!isOpening && (yield* board.pass(held)) !== "") isFirst = false;
      this.#throwIfGone();
      if (board.now >= end) throw new RunTimeout("the command exceeded its timeout");
      const isPrompt = board.buffer === prompt;
      const isChanged = !isProbed && !isPrompt && isLike && board.buffer === line && this.#isPrompt(line);
      const isEnd = isPrompt || isProved || isChanged;
      if (yield* board.read(Math.min(isEnd ? promptSilenceMs : 500, end - board.now))) {
        lastCame = board.now;
        continue;
      }
      const silentMs = board.now - Math.max(lastCame, probe?.at ?? 0);
      if (isChanged) {
        prompt = line;
        this.#line.prompt = line;
      } else if (isProved) {
        if (isLost) yield { kind: "note", text: damagedPrompt };
        complete &&= !isLost;
        if ((yield* this.#line.type(ask, board.buffer)) === "typed") {
          const code = yield* this.#readAnswer(isLost ? end : board.now + answerTimeoutMs);
          if (code !== undefined) return { code, complete };
          throw new BoardFailure("noise", "the answer with the command's exit code was damaged on the line");
        }
        attempts += 1;
        if (attempts > maxAttempts || !(yield* this.#line.discard(ask.length)))
          throw new BoardFailure("noise", "the line loses or damages characters: the exit code is unknown");
        board.buffer = prompt;
        probe = undefined;
      } else if (isPrompt ? !isProbed || silentMs > echoTimeoutMs : !isProbed && silentMs > firstProbeMs) {
        yield* board.send(" ");
        probe = { text: board.buffer, at: board.now };
      }
    }
  }

  /** Whether the output ends with the prompt, and nothing follows. */
  *#settles(): Dialogue<boolean> {
    yield* this.#board.silence(promptSilenceMs, echoTimeoutMs);
    return this.#board.buffer.endsWith(this.#line.prompt);
  }

  /** After the question is typed: ends its line. @returns the exit code; undefined when the answer isn't one */
  *#readAnswer(end: number): Dialogue<number | undefined> {
    const board = this.#board;
    board.clear();
    const before = board.received;
    for (let attempt = 0; attempt < maxAttempts && board.received === before; attempt += 1) {
      yield* board.send("\r");
      yield* board.read(echoTimeoutMs);
    }
    let asked = { at: board.now, length: board.buffer.length };
    let damaged = 0;
    while (
      board.now < end &&
      !(board.buffer.endsWith(`\n${this.#line.prompt}`) && (yield* this.#settles()))
    ) {
      const left = Math.max(0, end - board.now);
      if ((yield* board.read(Math.min(echoTimeoutMs, left))) || board.now - asked.at < firstProbeMs) continue;
      // The prompt behind the answer was damaged, too, or a command still runs: only a shell answers an empty line.
      if (asked.length > 0 && /^\r*\n/.test(board.buffer.slice(asked.length)) && ++damaged > maxAttempts)
        break;
      asked = { at: board.now, length: board.buffer.length };
      yield* board.send("\r");
    }
    if (!board.buffer.endsWith(`\n${this.#line.prompt}`)) return undefined;
    const lines = board.buffer.slice(0, -this.#line.prompt.length).split(/\r*\n/);
    const answers = lines.map((line) => this.#dialect.answer.exec(line.trim())).filter((found) => found);
    if (answers.length !== 1) return undefined;
    board.clear();
    return Number(answers[0]?.[1]);
  }

  #onLine(line: string): void {
    const plain = withoutEscapes(line).trim();
    this.#crash ??= crashIn(plain);
    if (this.#dialect.boot[this.#bootLines]?.test(plain)) this.#bootLines += 1;
    if (kernel.test(plain)) this.#hasBooted = true;
    if (this.#bootLines === this.#dialect.boot.length) this.#hasBooted = true;
  }

  #throwIfGone(): void {
    if (this.#crash !== undefined) throw new BoardFailure("panic", `the board crashed: ${this.#crash}`);
    if (this.#hasBooted) throw new BoardFailure("rebooted", "the board rebooted in the middle of the script");
  }
}

/** Whether the text is the prompt with spaces behind it. */
function isSpaces(text: string, prompt: string): boolean {
  return text.startsWith(prompt) && /^ +$/.test(text.slice(prompt.length));
}

/** Removes escape sequences, and NUL. */
class EscapeFilter implements TextFilter {
  #held = "";

  feed(text: string): string {
    const whole = (this.#held + text).replaceAll("\0", "");
    this.#held = unfinishedEscape(whole);
    return withoutEscapes(whole.slice(0, whole.length - this.#held.length));
  }

  flush(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }
}
