/** A board that a test plays, in a time that passes only while somebody waits for it. */
import type { Dialogue } from "#/devices/consoles/dialogue.ts";

/** What the board does with what it is sent; it answers by say(). */
export type React = (typed: string, board: VirtualBoard) => void;

export class VirtualBoard {
  now = 0;
  /** How much too early a read without output ends, as timers may. */
  earlyMs = 0;
  /** All that it was sent, one character a byte. */
  typed = "";
  readonly output: Buffer[] = [];
  readonly notes: string[] = [];
  readonly #react: React;
  readonly #largest: number;
  #pending: { at: number; text: string }[] = [];

  /** @param largest bytes that one read brings at most */
  constructor(react: React, largest = Number.POSITIVE_INFINITY) {
    this.#react = react;
    this.#largest = largest;
  }

  /** So many milliseconds from now. */
  say(text: string, after = 1): void {
    this.#pending.push({ at: this.now + after, text });
    this.#pending.sort((one, other) => one.at - other.at);
  }

  /** Holds the conversation to its end. */
  hold<T>(dialogue: Dialogue<T>): T {
    let state = dialogue.next();
    while (!state.done) {
      const step = state.value;
      let text = "";
      if (step.kind === "read") text = this.#read(step.timeoutMs);
      else if (step.kind === "write") {
        const typed = Buffer.from(step.bytes).toString("latin1");
        this.typed += typed;
        this.#react(typed, this);
      } else if (step.kind === "output") this.output.push(Buffer.from(step.bytes));
      else if (step.kind === "note") this.notes.push(step.text);
      state = dialogue.next({ bytes: Buffer.from(text, "latin1"), now: this.now });
    }
    return state.value;
  }

  #read(timeout: number): string {
    const next = this.#pending[0];
    if (!next || next.at > this.now + timeout) {
      this.now += Math.max(0, timeout - this.earlyMs);
      return "";
    }
    this.now = Math.max(this.now, next.at);
    const text = next.text.slice(0, this.#largest);
    next.text = next.text.slice(text.length);
    if (next.text === "") this.#pending.shift();
    return text;
  }
}
