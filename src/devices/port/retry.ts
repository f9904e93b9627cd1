/** When to try again to open a port: later and later, until a line stood for a while. */

/** Milliseconds between tries when nothing changes: doubling from the first to the last. */
const firstWait = 250;
const lastWait = 15_000;
/** A line that stood for so long shows that the port works, in milliseconds. */
const steady = 5000;

export class Retry implements Disposable {
  readonly #again: () => void;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(again: () => void) {
    this.#again = again;
  }

  /** No try since the last line that stood has failed. */
  get isFresh(): boolean {
    return this.#failures === 0;
  }

  /** Forgets what failed. */
  reset(): void {
    this.#failures = 0;
  }

  /** A line stood for so many milliseconds. */
  stood(milliseconds: number): void {
    if (milliseconds > steady) this.reset();
  }

  /** Tries again in a while; the wait is spread, so that many ports of one server don't all come at once. */
  later(): void {
    const wait = Math.min(lastWait, firstWait * 2 ** this.#failures);
    this.#failures += 1;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#again, wait * (0.75 + Math.random() / 2)).unref();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
