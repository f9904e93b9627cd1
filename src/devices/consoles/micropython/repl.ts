/** MicroPython's raw REPL: runs statements, and returns their output and exceptions. */
import type { Dialogue } from "../dialogue.ts";
import type { Expect } from "../expect.ts";

/** docs.micropython.org, "The MicroPython Interactive Interpreter Mode": raw mode and raw-paste mode. */
const key = { raw: "\x01", friendly: "\x02", interrupt: "\x03", end: "\x04", paste: "\x05A\x01" };
const replies = {
  greeting: /raw REPL; CTRL-B to exit\r\n>$/,
  /** A statement's output, its exception, and the next prompt. */
  answer: new RegExp(`^(?:OK)?([^${key.end}]*)${key.end}([^${key.end}]*)${key.end}>$`),
  /** Raw-paste mode and its window size, or no such mode. Older boards print the greeting again. */
  paste: new RegExp(`^R(?:${key.raw}(.)(.)|\0)|CTRL-B to exit\r\n>$`, "s"),
  /** The board takes another window, or nothing more. */
  window: new RegExp(`^[${key.raw}${key.end}]`),
  pasted: new RegExp(`^${key.raw}*${key.end}`),
};

/** The end of every statement's answer. A script can print it too. */
export const statementEnd = new RegExp(`${key.end}[^${key.end}]*${key.end}>$`);

/** Without flow control. The smallest board's buffer holds more. */
const maxChunkLength = 64;
const replyTimeoutMs = 700;
/** For getting back to the prompt after an answer was lost. */
const attachTimeoutMs = 5000;

export interface Answer {
  readonly output: string;
  /** The exception's traceback; empty when there was none. */
  readonly error: string;
}

export class Repl {
  readonly #board: Expect;
  /** Whether the board has raw-paste mode, with flow control (since 1.14). */
  #hasPaste = false;
  /** Halved after each loss. */
  #chunkLength = maxChunkLength;

  constructor(board: Expect) {
    this.#board = board;
  }

  /** From any state to an empty raw prompt. @returns false after the timeout */
  *attach(timeoutMs: number): Dialogue<boolean> {
    const board = this.#board;
    const end = board.now + timeoutMs;
    while (board.now < end) {
      board.clear();
      yield* board.send(`\r${key.interrupt}${key.interrupt}`);
      yield* board.silence(50, Math.min(300, end - board.now));
      yield* board.send(key.raw);
      if (!(yield* board.expect(replies.greeting, Math.min(replyTimeoutMs, end - board.now)))) continue;
      if (yield* board.read(20)) continue;
      board.clear();
      return true;
    }
    return false;
  }

  /** Starts a fresh interpreter from the raw prompt: memory and names of earlier scripts are gone. @returns false after the timeout */
  *softReset(timeoutMs: number): Dialogue<boolean> {
    const board = this.#board;
    const end = board.now + timeoutMs;
    board.clear();
    yield* board.send(key.end);
    const greeting = yield* board.expect(replies.greeting, Math.min(attachTimeoutMs, timeoutMs));
    // A boot.py may be slow, or keep running.
    if (!greeting) return yield* this.attach(end - board.now);
    board.clear();
    return true;
  }

  /** From the raw prompt to the friendly one. */
  *leave(): Dialogue<void> {
    const board = this.#board;
    board.clear();
    yield* board.send(key.raw);
    if (!(yield* board.expect(replies.greeting, replyTimeoutMs))) return;
    board.clear();
    yield* this.ask("for n in('_lb','_lw','_ls','_lr'):globals().pop(n,0)", replyTimeoutMs);
    yield* board.send(key.friendly);
    yield* board.silence(50, replyTimeoutMs);
  }

  /** Finds out whether the board has raw-paste mode. */
  *probe(): Dialogue<void> {
    const board = this.#board;
    board.clear();
    yield* board.send(key.paste);
    const reply = yield* board.expect(replies.paste, replyTimeoutMs);
    this.#hasPaste = reply?.[0].startsWith("R\x01") ?? false;
    yield* this.attach(attachTimeoutMs);
  }

  /**
   * Runs a statement while a script may still run and print, and keeps the script's output.
   * @param answer a pattern that only the answer matches, at the end of the buffer
   * @returns the match; everything up to its end is taken
   */
  *inquire(statement: string, answer: string, timeoutMs: number): Dialogue<RegExpExecArray | undefined> {
    const board = this.#board;
    for (let at = 0; at < statement.length; at += this.#chunkLength)
      yield* board.send(statement.slice(at, at + this.#chunkLength));
    yield* board.send(key.end);
    const found = yield* board.expect(new RegExp(`${answer}\\r\\n${key.end}${key.end}>$`), timeoutMs);
    if (found) board.clear();
    return found;
  }

  /** Sends a statement and starts it. The buffer is empty before, and holds the beginning of the answer after. */
  *start(statement: string): Dialogue<void> {
    if (this.#hasPaste) yield* this.#paste(statement);
    else yield* this.#type(statement);
  }

  /**
   * Runs a statement that prints little.
   * @returns undefined when its answer was damaged; the board is back at the prompt all the same
   */
  *ask(statement: string, timeoutMs: number): Dialogue<Answer | undefined> {
    const board = this.#board;
    board.clear();
    yield* this.start(statement);
    const answer = yield* board.expect(replies.answer, timeoutMs);
    if (!answer) {
      this.#chunkLength = Math.max(4, this.#chunkLength >> 1);
      yield* this.attach(attachTimeoutMs);
      return undefined;
    }
    board.clear();
    return { output: answer[1] ?? "", error: answer[2] ?? "" };
  }

  *#type(statement: string): Dialogue<void> {
    const board = this.#board;
    for (let at = 0; at < statement.length; at += this.#chunkLength) {
      yield* board.send(statement.slice(at, at + this.#chunkLength));
      // Raw mode doesn't echo: after a loss, give the board time.
      if (this.#chunkLength < maxChunkLength) yield* board.silence(10, 10);
    }
    yield* board.send(key.end);
  }

  /** Keeps to the board's window: \x01 opens another one, \x04 takes nothing more. */
  *#paste(statement: string): Dialogue<void> {
    const board = this.#board;
    yield* board.send(key.paste);
    const reply = yield* board.expect(replies.paste, replyTimeoutMs);
    if (reply?.[1] === undefined) return;
    board.take(reply[0].length);
    const window = reply[1].charCodeAt(0) + 256 * (reply[2]?.charCodeAt(0) ?? 0);
    let room = window;
    for (let at = 0; at < statement.length; ) {
      if (room === 0 && !(yield* board.expect(replies.window, replyTimeoutMs))) return;
      while (replies.window.test(board.buffer)) {
        if (board.take(1) === key.end) return yield* board.send(key.end);
        room += window;
      }
      const chunk = statement.slice(at, at + room);
      yield* board.send(chunk);
      at += chunk.length;
      room -= chunk.length;
    }
    yield* board.send(key.end);
    const end = yield* board.expect(replies.pasted, replyTimeoutMs);
    if (end) board.take(end[0].length);
  }
}
