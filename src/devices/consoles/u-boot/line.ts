/** U-Boot's command line: types in step with the echo, and asks for the exit code of the last command. */
import { BoardFailure } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import type { Expect } from "../expect.ts";

/** What fits the buffer of a UART. */
const maxChunkLength = 32;
const echoTimeoutMs = 700;
const maxAttempts = 12;
/** For an answer on the slowest lines. */
const maxAnswerMs = 5000;
/** Of an exit code in an answer. */
const answerCopies = 4;

export class UbootLine {
  readonly #board: Expect;
  prompt: string;
  /** How much of a line is typed before its echo; halved after each loss. */
  #chunkLength = maxChunkLength;
  /** Something came that the board didn't send as such, so its output may be damaged too. Lost keystrokes alone don't set this. */
  damaged = false;

  constructor(board: Expect, prompt: string) {
    this.#board = board;
    this.prompt = prompt;
  }

  /**
   * Types at the prompt until the echo is right. The text isn't empty: U-Boot takes an empty line as the last command again.
   * @returns "typed", or why the board can't take the text
   */
  *type(text: string): Dialogue<string> {
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      const result = yield* this.#typeOnce(text);
      if (result === "typed") return result;
      if (result === "full" && attempt > 1) return "that is too long for this U-Boot";
      if (result === "damaged") this.#chunkLength = Math.max(1, this.#chunkLength >> 1);
      if (!(yield* this.newPrompt())) break;
    }
    throw new BoardFailure("noise", "the echo of typed text is wrong: the line loses or damages characters");
  }

  /** Ends the typed line. It is ended again only when its echo proves that the first end was lost: the command must not run twice. */
  *enter(): Dialogue<void> {
    const board = this.#board;
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      yield* board.send("\r");
      const echo = yield* board.expect(/\r?\n/, echoTimeoutMs);
      if (echo?.index === 0) {
        board.take(echo[0].length);
        return;
      }
      if (echo) {
        const extra = JSON.stringify(board.take(echo.index));
        throw new BoardFailure("noise", `the line damaged the command: ${extra} was added to it`);
      }
      if (board.buffer !== "") return;
      // While the line is still being typed, a space is echoed.
      yield* board.send(" ");
      if (!(yield* board.expect(/^ $/, echoTimeoutMs))) return;
      board.clear();
    }
  }

  /** Whether the board is at its prompt, where it echoes a space. The buffer is output then, and the prompt a new one. */
  *isAtPrompt(): Dialogue<boolean> {
    const board = this.#board;
    const before = board.buffer;
    yield* board.send(" ");
    yield* board.silence(100, echoTimeoutMs);
    if (board.buffer !== `${before} `) return false;
    yield* board.pass(1);
    return yield* this.newPrompt();
  }

  /** Discards what was typed or left open. @returns whether an empty prompt came */
  *newPrompt(): Dialogue<boolean> {
    const board = this.#board;
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      board.clear();
      yield* board.send("\x03");
      yield* board.silence(60, echoTimeoutMs);
      if (board.buffer.endsWith(`\n${this.prompt}`)) {
        board.clear();
        return true;
      }
    }
    return false;
  }

  /** Whether the prompt runs commands. */
  *runsCommands(token: string): Dialogue<boolean> {
    const board = this.#board;
    const answer = new RegExp(`\\n${token}\\d+\\r?\\n${RegExp.escape(this.prompt)}$`);
    board.clear();
    yield* board.send(`echo ${token}$?\r`);
    const found = yield* board.expect(answer, echoTimeoutMs);
    board.clear();
    return found !== undefined;
  }

  /**
   * Asks for the exit code of the last command; the buffer holds the prompt alone. The board prints it several times, and two have to
   * agree. A variable would keep it for another question, but U-Boot can't remove one.
   * @returns undefined when that was no prompt; the buffer then holds the prompt and what came instead
   */
  *exitCode(token: string): Dialogue<number | undefined> {
    const board = this.#board;
    const mark = token.slice(0, 4);
    const command = `echo${` ${mark}:$?:${mark}`.repeat(answerCopies)}`;
    const echo = new RegExp(`${RegExp.escape(this.prompt)}${RegExp.escape(command)}$`);
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      yield* board.send(command);
      if (yield* board.expect(echo, echoTimeoutMs)) {
        yield* board.pass(this.prompt.length + command.length);
        board.clear();
        return yield* this.#readCode(mark);
      }
      // A command that still runs swallows keystrokes, or some of them when it ends just now.
      const at = board.buffer.lastIndexOf(this.prompt);
      const rest = board.buffer.slice(at + this.prompt.length);
      if (at < 0 || rest === "" || !isPart(rest, command)) return undefined;
      yield* board.pass(board.buffer.length - at);
      if (!(yield* this.newPrompt())) break;
      board.buffer = this.prompt;
    }
    throw noCode("no echo of the question came right");
  }

  /** Ends the question's line. */
  *#readCode(mark: string): Dialogue<number> {
    const board = this.#board;
    const end = new RegExp(`\\n${RegExp.escape(this.prompt)}$`);
    let isWhole = false;
    for (let attempt = 0; attempt < maxAttempts && board.buffer === ""; attempt += 1) {
      // An empty line would ask again, with another answer. While the question is still being typed, a space is echoed.
      if (attempt > 0) {
        yield* board.send(" ");
        if (!(yield* board.expect(/^ $/, echoTimeoutMs))) break;
        board.clear();
      }
      yield* board.send("\r");
      isWhole = (yield* board.expect(end, echoTimeoutMs)) !== undefined;
    }
    // A slow line, or a prompt that was damaged.
    if (!isWhole && board.buffer !== "") yield* board.silence(100, maxAnswerMs);
    isWhole ||= end.test(board.buffer);
    const found = Array.from(
      board.buffer.matchAll(new RegExp(`${mark}:(\\d+):${mark}`, "g")),
      ([, code]) => code,
    );
    const counts = new Map<string | undefined, number>();
    for (const code of found) counts.set(code, (counts.get(code) ?? 0) + 1);
    const [[code, count] = [undefined, 0], [, second] = [undefined, 0]] = [...counts].sort(
      ([, a], [, b]) => b - a,
    );
    if (found.length < answerCopies || counts.size > 1 || !isWhole) this.damaged = true;
    if (!isWhole) yield* this.newPrompt();
    board.clear();
    if (count < 2 || count === second) throw noCode(`it answered ${JSON.stringify(found.join(" "))}`);
    return Number(code);
  }

  *#typeOnce(text: string): Dialogue<"typed" | "damaged" | "full"> {
    const board = this.#board;
    for (let at = 0; at < text.length; ) {
      const chunk = text.slice(at, at + this.#chunkLength);
      yield* board.send(chunk);
      const echo = yield* board.expect(new RegExp(`^[^]{${chunk.length}}`), echoTimeoutMs);
      if (board.buffer.includes("\x07")) return "full";
      if (echo?.[0] !== chunk) {
        if (!isPart(board.buffer, chunk)) this.damaged = true;
        return "damaged";
      }
      board.take(chunk.length);
      at += chunk.length;
    }
    // A doubled character shows after the last one.
    if (!(yield* board.read(5))) return "typed";
    this.damaged = true;
    return "damaged";
  }
}

/** Whether `part` is the text with some characters left out. */
function isPart(part: string, text: string): boolean {
  let at = 0;
  for (const character of text) if (character === part[at]) at += 1;
  return at === part.length;
}

function noCode(why: string): BoardFailure {
  return new BoardFailure(
    "noise",
    `U-Boot doesn't report a command's exit code (${why}): was it built with the hush parser?`,
  );
}
