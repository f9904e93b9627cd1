/** A console without a known prompt. Jobs talk with it in steps, with send and expect. */
import { BoardFailure } from "../errors.ts";
import type { Console } from "./console.ts";
import type { Dialogue } from "./dialogue.ts";

export class RawConsole implements Console {
  readonly kind = "raw";

  *enter(): Dialogue<void> {}

  /** @throws BoardFailure always: without a prompt, a command has no end */
  run(): never {
    throw new BoardFailure(
      "mismatch",
      "a raw console has no prompt to run commands at: use steps with send and expect, or configure the console's kind",
    );
  }

  *interrupt(): Dialogue<boolean> {
    yield* this.enter();
    return true;
  }
}
