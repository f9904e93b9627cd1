/** MicroPython's raw REPL: statements in, their output and exceptions out, each by the closed loop that the REPL itself is. */
import type { Dialogue } from "../dialogue.ts";
import type { Ear } from "../expect.ts";

/** docs.micropython.org, "The MicroPython Interactive Interpreter Mode": raw mode and raw-paste mode. */
const key = { raw: "\x01", friendly: "\x02", interrupt: "\x03", end: "\x04", paste: "\x05A\x01" };
/** What the board says. */
const said = {
  greeting: /raw REPL; CTRL-B to exit\r\n>$/,
  /** A statement's output, its exception, and the next prompt. */
  answer: new RegExp(`^(?:OK)?([^${key.end}]*)${key.end}([^${key.end}]*)${key.end}>$`),
  /** Raw-paste mode is there, and how much it takes at once; or not. Older boards greet again. */
  paste: new RegExp(`^R(?:${key.raw}(.)(.)|\0)|CTRL-B to exit\r\n>$`, "s"),
  /** More may be sent, or no more. */
  window: new RegExp(`^[${key.raw}${key.end}]`),
  pasted: new RegExp(`^${key.raw}*${key.end}`),
};

/** What every statement ends in; a script may print it too. */
export const statementEnd = new RegExp(`${key.end}[^${key.end}]*${key.end}>$`);

/** Characters that are sent at once where nothing says how many fit: less than the smallest board's buffer. */
const largestChunk = 64;
/** Milliseconds for something that takes the board no time. */
const patience = 700;

export interface Answer {
  readonly output: string;
  /** The exception's traceback; empty: none. */
  readonly error: string;
}

export class Repl {
  readonly #ear: Ear;
  /** Whether the board has raw-paste mode, with flow control (since 1.14). */
  #paste = false;
  /** What this line bears, learned by what was lost. */
  #chunk = largestChunk;

  constructor(ear: Ear) {
    this.#ear = ear;
  }

  /** To the raw prompt, with nothing typed, from whatever runs or was typed. @returns whether it came in time */
  *attach(timeout: number): Dialogue<boolean> {
    const ear = this.#ear;
    const end = ear.now + timeout;
    while (ear.now < end) {
      ear.clear();
      yield* ear.write(`\r${key.interrupt}${key.interrupt}`);
      yield* ear.silence(50, Math.min(300, end - ear.now));
      yield* ear.write(key.raw);
      if (!(yield* ear.until(said.greeting, Math.min(patience, end - ear.now)))) continue;
      if (yield* ear.read(20)) continue;
      ear.clear();
      return true;
    }
    return false;
  }

  /** A fresh interpreter: what ran before holds no memory, and no name. Call it at the raw prompt. */
  *softReset(timeout: number): Dialogue<boolean> {
    const end = this.#ear.now + timeout;
    this.#ear.clear();
    yield* this.#ear.write(key.end);
    const isThere = yield* this.#ear.until(said.greeting, Math.min(5000, timeout));
    // A boot.py may take its time, or leave something running.
    return isThere ? this.#ear.clear() !== "" : yield* this.attach(end - this.#ear.now);
  }

  /** Finds out whether raw-paste mode is there. Older boards greet again. */
  *probe(): Dialogue<void> {
    const ear = this.#ear;
    ear.clear();
    yield* ear.write(key.paste);
    const reply = yield* ear.until(said.paste, patience);
    this.#paste = reply?.[0].startsWith("R\x01") ?? false;
    yield* this.attach(5000);
  }

  /**
   * Has a statement run without taking anything away from what may still run and print.
   * @returns what the pattern, which knows the answer, finds at the end of what came; it is taken, with what was before it
   */
  *inquire(statement: string, expected: string, timeout: number): Dialogue<RegExpExecArray | undefined> {
    for (let at = 0; at < statement.length; at += this.#chunk)
      yield* this.#ear.write(statement.slice(at, at + this.#chunk));
    yield* this.#ear.write(key.end);
    const end = `\\r\\n${key.end}${key.end}>$`;
    const found = yield* this.#ear.until(new RegExp(expected + end), timeout);
    if (found) this.#ear.clear();
    return found;
  }

  /** Sends a statement and starts it; call it with nothing in the ear. Its answer comes behind it. */
  *start(statement: string): Dialogue<void> {
    if (this.#paste) yield* this.#pasted(statement);
    else yield* this.#typed(statement);
  }

  /**
   * Has a statement run that prints little.
   * @returns undefined when no whole answer came; the prompt is there again all the same
   */
  *ask(statement: string, timeout: number): Dialogue<Answer | undefined> {
    this.#ear.clear();
    yield* this.start(statement);
    const whole = yield* this.#ear.until(said.answer, timeout);
    if (!whole) {
      this.#chunk = Math.max(4, this.#chunk >> 1);
      yield* this.attach(5000);
      return undefined;
    }
    this.#ear.clear();
    return { output: whole[1] ?? "", error: whole[2] ?? "" };
  }

  *#typed(statement: string): Dialogue<void> {
    for (let at = 0; at < statement.length; at += this.#chunk) {
      yield* this.#ear.write(statement.slice(at, at + this.#chunk));
      // Nothing comes back in raw mode: after a loss the board is given time.
      if (this.#chunk < largestChunk) yield* this.#ear.silence(10, 10);
    }
    yield* this.#ear.write(key.end);
  }

  /** The board says how many bytes it takes, and \x01 when it takes as many again; \x04 when it wants no more. */
  *#pasted(statement: string): Dialogue<void> {
    const ear = this.#ear;
    yield* ear.write(key.paste);
    const reply = yield* ear.until(said.paste, patience);
    if (reply?.[1] === undefined) return;
    ear.take(reply[0].length);
    const window = reply[1].charCodeAt(0) + 256 * (reply[2]?.charCodeAt(0) ?? 0);
    let room = window;
    for (let at = 0; at < statement.length; ) {
      if (room === 0 && !(yield* ear.until(said.window, patience))) return;
      while (said.window.test(ear.text)) {
        if (ear.take(1) === key.end) return yield* ear.write(key.end);
        room += window;
      }
      const chunk = statement.slice(at, at + room);
      yield* ear.write(chunk);
      at += chunk.length;
      room -= chunk.length;
    }
    yield* ear.write(key.end);
    const end = yield* ear.until(said.pasted, patience);
    if (end) ear.take(end[0].length);
  }
}
