/** How long to wait before connecting again: full jitter below a ceiling that doubles. */
import type { GearmanError } from "../wire/errors.ts";

/** The first and the highest ceiling. */
const baseMs = 100;
const maxMs = 30_000;
/** A connection that lasts this long shows that its server works. */
const stableMs = maxMs;
/** How many restarts in a row count: the ceiling after one stays below a second. */
const maxRestarts = 3;

/**
 * The delays of one server. Full jitter spreads the boxes that lost the same server, so that they don't all come back at
 * once. A server that takes each registration and ends the connection soon after isn't retried faster and faster: one that
 * restarts is retried within a second, one that sends garbage ever more slowly.
 */
export class Backoff {
  readonly #random: () => number;
  #tries = 0;
  /** When the connection was registered; any clock. */
  #upSince: number | undefined;
  /** How many connections in a row ended soon after their registration. */
  #shortLived = 0;

  /** @param random returns numbers from 0 up to, not including, 1 */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** Milliseconds until the next try: between 0 and min(30 s, 0.1 s · 2^n), n counted from 0. */
  next(): number {
    const ceiling = Math.min(maxMs, baseMs * 2 ** this.#tries);
    if (ceiling < maxMs) this.#tries += 1;
    return this.#random() * ceiling;
  }

  /** The connection is registered. */
  up(now: number): void {
    this.#upSince = now;
  }

  /** The connection ended, or couldn't be made. Earlier tries no longer count if it had been up. */
  down(now: number, { code }: GearmanError): void {
    if (this.#upSince === undefined) return;
    const isGarbage = code === "GARBAGE" || code === "TOO_LARGE";
    if (now - this.#upSince >= stableMs) this.#shortLived = 0;
    else
      this.#shortLived = Math.min(this.#shortLived + 1, isGarbage ? Number.POSITIVE_INFINITY : maxRestarts);
    this.#upSince = undefined;
    this.#tries = this.#shortLived;
  }
}
