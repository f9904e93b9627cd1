/** Reads a console byte by byte as it is, one character a byte, for consoles whose output has nobody else's lines in it. */
import type { Cause } from "../errors.ts";
import { BoardFailure } from "../errors.ts";
import type { Dialogue } from "./dialogue.ts";

/** Characters that are looked at to tell text from noise. */
const recent = 400;

export class Ear {
  /** What came and wasn't taken yet. */
  text = "";
  /** Milliseconds, since the first step. */
  now = 0;
  /** Bytes, in all. */
  heard = 0;
  #recent = "";
  readonly #onText: (text: string) => void;

  /** @param onText is told of all that comes */
  constructor(onText: (text: string) => void) {
    this.#onText = onText;
  }

  /** Waits for something to come, so many milliseconds at most. @returns whether it did */
  *read(timeout: number): Dialogue<boolean> {
    const { bytes, now } = yield { kind: "read", timeoutMs: Math.max(0, timeout) };
    this.now = now;
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
    this.text += text;
    this.#onText(text);
    this.heard += text.length;
    this.#recent = (this.#recent + text.slice(-recent)).slice(-recent);
    return text !== "";
  }

  /** Waits until the text matches. @returns the match, or undefined when the time is up */
  *until(pattern: RegExp, timeout: number): Dialogue<RegExpExecArray | undefined> {
    const end = this.now + timeout;
    for (;;) {
      const match = pattern.exec(this.text);
      if (match) return match;
      if (this.now >= end) return undefined;
      yield* this.read(end - this.now);
    }
  }

  /** Waits for so much silence, `limit` milliseconds at most. @returns whether it came */
  *silence(milliseconds: number, limit: number): Dialogue<boolean> {
    const end = this.now + limit;
    while (this.now < end) if (!(yield* this.read(Math.min(milliseconds, end - this.now)))) return true;
    return false;
  }

  *write(text: string): Dialogue<void> {
    const { now } = yield { kind: "write", bytes: Buffer.from(text, "latin1") };
    this.now = now;
  }

  /** Takes what is before `at`. */
  take(at: number): string {
    const taken = this.text.slice(0, at);
    this.text = this.text.slice(at);
    return taken;
  }

  /** Takes all of it. */
  clear(): string {
    return this.take(this.text.length);
  }

  /** Why a prompt wasn't found, by what came since `heardBefore` bytes. */
  lost(what: string, heardBefore: number): BoardFailure {
    if (this.heard === heardBefore)
      return new BoardFailure(
        "silent",
        `${what} doesn't say anything: is the board on, and its line connected?`,
      );
    const strange = [...this.#recent].filter((char) => char < "\t" || char > "~").length;
    const cause: Cause =
      this.#recent.length >= 16 && strange * 4 > this.#recent.length ? "wrong-speed" : "noise";
    const shown = JSON.stringify(printable(this.#recent).slice(-100));
    if (cause === "noise")
      return new BoardFailure(cause, `no prompt of ${what} came, the last that came is ${shown}`);
    return new BoardFailure(
      cause,
      `what comes is no text: does the port's speed fit? The last that came is ${shown}`,
    );
  }
}

/** What a board said, in one line. */
export function printable(text: string): string {
  return text.replace(/[^ -~]+/g, " ").trim();
}

/** Gives the job what it printed. */
export function* output(text: string): Dialogue<void> {
  if (text !== "") yield { kind: "output", bytes: Buffer.from(text, "latin1") };
}

/** The length of the longest end of `text` that is a beginning of `word`. */
export function overlap(text: string, word: string): number {
  for (let length = Math.min(text.length, word.length); length > 0; length -= 1)
    if (text.endsWith(word.slice(0, length))) return length;
  return 0;
}
