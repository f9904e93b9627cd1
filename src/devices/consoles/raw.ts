/** The console of a board that nothing is known of: bytes come and go, and there is no prompt to come back to. */
import { BoardFailure } from "../errors.ts";
import type { Console } from "./console.ts";
import type { Dialogue } from "./dialogue.ts";

export class RawConsole implements Console {
  readonly kind = "raw";

  /** There is nowhere to go. */
  *enter(): Dialogue<void> {}

  /** @throws BoardFailure always: a job of steps or firmware is what such a board can do */
  // biome-ignore lint/correctness/useYield: it has nothing to say
  *run(): Dialogue<never> {
    throw new BoardFailure("noise", "a raw console has no prompt to run a command at: use send and expect");
  }

  /** Nothing that is known runs there. */
  // biome-ignore lint/correctness/useYield: it has nothing to say
  *interrupt(): Dialogue<boolean> {
    return true;
  }
}
