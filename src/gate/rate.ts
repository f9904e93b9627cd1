/** How often somebody may ask: a bucket of tokens for each name, refilled steadily. */

interface Bucket {
  tokens: number;
  at: number;
}

/** More names than that are forgotten, the one that was used longest ago first. */
const maxNames = 10_000;

export class Rate {
  readonly #buckets = new Map<string, Bucket>();
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #now: () => number;

  /** @param now in milliseconds */
  constructor(perSecond: number, burst: number, now: () => number = () => performance.now()) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#now = now;
  }

  /** @returns whether there was one left */
  take(name: string): boolean {
    const bucket = this.#bucket(name);
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  /** Whether one is left, without taking it. */
  has(name: string): boolean {
    return this.#bucket(name).tokens >= 1;
  }

  #bucket(name: string): Bucket {
    const now = this.#now();
    const known = this.#buckets.get(name) ?? { tokens: this.#burst, at: now };
    known.tokens = Math.min(this.#burst, known.tokens + ((now - known.at) / 1000) * this.#perSecond);
    known.at = now;
    this.#buckets.delete(name);
    this.#buckets.set(name, known);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > maxNames && oldest !== undefined) this.#buckets.delete(oldest);
    return known;
  }
}
