/** A console without any prompt that could be known: what it says is for steps to send and expect. */
import { BoardFailure } from "../errors.ts";
import type { Console } from "./console.ts";
import type { Dialogue } from "./dialogue.ts";

export class RawConsole implements Console {
  readonly kind = "raw";

  /** There is nothing to get to. */
  *enter(): Dialogue<void> {}

  /** @throws BoardFailure always: nobody could tell where a command's output ends */
  // biome-ignore lint/correctness/useYield: it has nothing to say
  *run(): Dialogue<never> {
    throw new BoardFailure(
      "mismatch",
      "a raw console has no prompt to run commands at: use steps with send and expect, or say which console it is",
    );
  }

  /** Nothing is known to run. */
  // biome-ignore lint/correctness/useYield: it has nothing to say
  *interrupt(): Dialogue<boolean> {
    return true;
  }
}
