/** Where a conversation's output, notes and progress go in a build. */
import type { TalkOptions } from "#/devices/talk.ts";
import type { BoardRun } from "./board.ts";

/** For Reservation.converse(): everything to the build. */
export function hooks(run: BoardRun): TalkOptions {
  return {
    signal: run.signal,
    onOutput: (bytes) => run.output(bytes),
    // A console that can't be written to says so at the next output.
    onNote: (text) => void run.note(text).catch(() => {}),
  };
}
