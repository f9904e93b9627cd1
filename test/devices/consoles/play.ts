/** Plays a board to a dialogue, in a time of its own: what the board says comes in pieces of any size, and no clock is waited for. */
import type { Dialogue } from "#/devices/consoles/dialogue.ts";

export interface PlayedBoard {
  /** Takes what is typed, at once. */
  write(text: string): void;
  /** What it has said by now, and says no more. */
  say(now: number): string;
}

export interface Played<T> {
  readonly value: T;
  readonly output: string;
  readonly notes: readonly string[];
  /** Milliseconds. */
  readonly took: number;
}

/** Holds the dialogue to its end. @param piece bytes that a read brings at most */
export function play<T>(dialogue: Dialogue<T>, board: PlayedBoard, piece: number): Played<T> {
  let now = 1000;
  let waiting = "";
  let output = "";
  let steps = 0;
  const notes: string[] = [];
  let state = dialogue.next();
  while (!state.done) {
    const step = state.value;
    let bytes = Buffer.alloc(0);
    if (step.kind === "write") board.write(Buffer.from(step.bytes).toString("latin1"));
    else if (step.kind === "output") output += Buffer.from(step.bytes).toString("latin1");
    else if (step.kind === "note") notes.push(step.text);
    else if (step.kind === "read") {
      waiting += board.say(now);
      const end = now + step.timeoutMs;
      while (waiting === "" && now < end) {
        now += 1;
        waiting += board.say(now);
      }
      bytes = Buffer.from(waiting.slice(0, piece), "latin1");
      waiting = waiting.slice(piece);
    }
    steps += 1;
    if (steps > 500_000 || now > 3_600_000) throw new Error("it goes on for ever");
    state = dialogue.next({ bytes, now });
  }
  return { value: state.value, output, notes, took: now - 1000 };
}

/** Tokens in their order. */
export function tokens(): () => string {
  let count = 0;
  return () => `tok${String(++count).padStart(5, "0")}`;
}
