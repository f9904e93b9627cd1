/** Whether the clock can be gone by, where age decides that something is removed. */

/** More than this, in milliseconds, and the clock was set, or the box slept. */
const jump = 60 * 60 * 1000;
/** How long the clock has to have run evenly after a doubt, in milliseconds. */
const probation = 24 * 60 * 60 * 1000;

export interface Clocks {
  /** Unix time in milliseconds: the clock that people and time servers set. */
  readonly wall: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly steady: () => number;
}

const systemClocks: Clocks = { wall: () => Date.now(), steady: () => performance.now() };

/**
 * A box without a battery for its clock starts in the past and jumps to the present; one whose clock is wrong by years
 * finds all that it has too old. So a clock that jumped, or by which everything is too old or still to come, is gone by
 * only when it has run evenly for a day from then on.
 *
 *     trusted ──it jumped, or what it says is odd──▶ doubted ──a day without a jump──▶ trusted
 */
export class Calendar {
  readonly #clocks: Clocks;
  /** What the wall clock was ahead of the steady one. */
  #ahead: number | undefined;
  /** By the steady clock; undefined while it is trusted. */
  #doubtedUntil: number | undefined;
  #started = false;

  constructor(clocks: Clocks = systemClocks) {
    this.#clocks = clocks;
  }

  /**
   * The Unix time in milliseconds, or undefined while the clock is in doubt.
   * @param newest the time of the newest thing there is; -Infinity when there is none
   * @param age how old things may be, in milliseconds
   */
  now(newest: number, age: number): number | undefined {
    const wall = this.#clocks.wall();
    const steady = this.#clocks.steady();
    const ahead = wall - steady;
    const jumped = this.#ahead !== undefined && Math.abs(ahead - this.#ahead) > jump;
    // A slow drift, or the clock's slewing, is no jump.
    this.#ahead = ahead;
    const odd = !this.#started && Number.isFinite(newest) && (newest > wall + jump || newest < wall - age);
    this.#started = true;
    if (jumped || odd) this.#doubtedUntil = steady + probation;
    if (this.#doubtedUntil !== undefined && steady < this.#doubtedUntil) return undefined;
    this.#doubtedUntil = undefined;
    return wall;
  }
}
