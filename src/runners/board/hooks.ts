/** Where a conversation's output, notes and progress go in a build. */
import type { DialogueOptions } from "#/devices/consoles/dialogue.ts";
import type { BoardRun } from "./board.ts";

/** For Reservation.run(): everything to the build. */
export function hooks(run: BoardRun): DialogueOptions {
  return {
    signal: run.signal,
    onOutput: (bytes) => run.output(bytes),
    // A console that can't be written to says so at the next output.
    onNote: (text) => void run.note(text).catch(() => {}),
  };
}
