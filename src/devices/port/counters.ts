/** What went through a port since the agent began, over all its lines. */
import type { Line, LineErrors } from "./line.ts";

export class Counters {
  /** Bytes. */
  received = 0;
  sent = 0;
  /** How often the line went away while it was open. */
  losses = 0;
  #line: Line | undefined;
  #before: LineErrors = { broken: 0, overrun: 0 };

  /** Characters that came broken, as with another speed. */
  get errors(): number {
    return this.#now().broken;
  }

  /** Characters that came and couldn't be kept. */
  get lost(): number {
    return this.#now().overrun;
  }

  opened(line: Line): void {
    this.#line = line;
  }

  /** Called before the line is closed: it can't be asked afterwards. */
  closing(): void {
    this.#before = this.#now();
    this.#line = undefined;
  }

  #now(): LineErrors {
    const now = this.#line?.errors();
    return {
      broken: this.#before.broken + (now?.broken ?? 0),
      overrun: this.#before.overrun + (now?.overrun ?? 0),
    };
  }
}
