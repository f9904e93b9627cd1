/** How long to wait before the next try to connect: full jitter below a ceiling that doubles. */

/** The first ceiling, and the highest, in milliseconds. */
const base = 100;
const cap = 30_000;

/**
 * Delays for one server's tries. Full jitter spreads the boxes that lost the same server evenly, so that it isn't
 * met by all of them at once when it is back.
 */
export class Backoff {
  readonly #random: () => number;
  #tries = 0;

  /** @param random gives numbers from 0 up to, not including, 1 */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** Milliseconds to wait before the next try: between 0 and min(30 s, 0.1 s · 2^n), n counted from 0. */
  next(): number {
    const ceiling = Math.min(cap, base * 2 ** this.#tries);
    if (ceiling < cap) this.#tries += 1;
    return this.#random() * ceiling;
  }

  /** Starts over: a connection got through registration. */
  reset(): void {
    this.#tries = 0;
  }
}
