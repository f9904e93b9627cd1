/** Time as the Gearman room uses it, handed in so that it can be another. */

export interface Clock {
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  /** Calls once after that many milliseconds; what it returns cancels the call. */
  after(milliseconds: number, call: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, call) {
    const timer = setTimeout(call, milliseconds);
    return () => clearTimeout(timer);
  },
};
