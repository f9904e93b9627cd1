/** Decides whether the clock can be trusted when things are removed by age. */

/** A larger step means that the clock was set, or the box slept. */
const maxStepMs = 60 * 60 * 1000;
/** How long a clock in doubt must run evenly to be trusted again. */
const probationMs = 24 * 60 * 60 * 1000;

export interface Clocks {
  /** Unix time in milliseconds, which people and time servers set. */
  readonly wall: () => number;
  /** Milliseconds of a clock that can't be set. */
  readonly monotonic: () => number;
}

const systemClocks: Clocks = { wall: () => Date.now(), monotonic: () => performance.now() };

/**
 * A box without a battery for its clock starts in the past and jumps to the present; if the clock is wrong by years, everything
 * looks too old. So a clock that jumped, or by which everything is too old or in the future, is only trusted after it has run
 * evenly for a day.
 *
 *     trusted ──it jumped, or it is implausible──▶ doubted ──a day without a jump──▶ trusted
 */
export class Calendar {
  readonly #clocks: Clocks;
  /** The wall clock's lead over the monotonic one. */
  #ahead: number | undefined;
  /** By the monotonic clock; undefined: the wall clock is trusted. */
  #doubtedUntil: number | undefined;
  #started = false;

  constructor(clocks: Clocks = systemClocks) {
    this.#clocks = clocks;
  }

  /**
   * The Unix time in milliseconds; undefined while the clock is in doubt.
   * @param newest the newest thing's time; -Infinity when there is none
   * @param maxAgeMs how old things may become
   */
  now(newest: number, maxAgeMs: number): number | undefined {
    const wall = this.#clocks.wall();
    const monotonic = this.#clocks.monotonic();
    const ahead = wall - monotonic;
    const jumped = this.#ahead !== undefined && Math.abs(ahead - this.#ahead) > maxStepMs;
    // Compared with the last call: slow drift and slewing are no jumps.
    this.#ahead = ahead;
    const implausible =
      !this.#started && Number.isFinite(newest) && (newest > wall + maxStepMs || newest < wall - maxAgeMs);
    this.#started = true;
    if (jumped || implausible) this.#doubtedUntil = monotonic + probationMs;
    if (this.#doubtedUntil !== undefined && monotonic < this.#doubtedUntil) return undefined;
    this.#doubtedUntil = undefined;
    return wall;
  }
}
