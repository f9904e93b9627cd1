/** How long to wait before the next try to connect: full jitter below a ceiling that doubles. */
import type { GearmanError } from "../wire/errors.ts";

/** The first ceiling, and the highest, in milliseconds. */
const base = 100;
const cap = 30_000;
/** A connection that stood for so long shows that its server works, in milliseconds. */
const steady = cap;
/** How many restarts in a row count: the wait after one is a second at most. */
const maxRestarts = 3;

/**
 * Delays for one server's tries. Full jitter spreads the boxes that lost the same server evenly, so that it isn't met by
 * all of them at once when it is back. A server that takes each registration and ends the connection soon after isn't met
 * faster and faster: one that restarts is waited for a moment, one that sends garbage up to the longest wait there is.
 */
export class Backoff {
  readonly #random: () => number;
  #tries = 0;
  /** When the connection got through registration, in milliseconds of any clock. */
  #since: number | undefined;
  /** Connections in a row that didn't stand for long after that. */
  #short = 0;

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

  /** The connection got through registration. */
  up(now: number): void {
    this.#since = now;
  }

  /** The connection ended, or couldn't be made: what was tried before counts no longer if it had been up. */
  down(now: number, { code }: GearmanError): void {
    if (this.#since === undefined) return;
    const isGarbage = code === "GARBAGE" || code === "TOO_LARGE";
    if (now - this.#since >= steady) this.#short = 0;
    else this.#short = Math.min(this.#short + 1, isGarbage ? Number.POSITIVE_INFINITY : maxRestarts);
    this.#since = undefined;
    this.#tries = this.#short;
  }
}
