/** Waiting for something to happen to a port, for any number of those who wait, each until its own signal. */

export class News {
  readonly #waiting = new Set<() => void>();

  /** Something happened. */
  tell(): void {
    for (const wake of this.#waiting) wake();
  }

  /**
   * One who waits again and again, until the signal or the disposal. What happens while it doesn't wait is forgotten: it looks first, and
   * then waits without a turn in between.
   */
  listen(signal: AbortSignal): Listener {
    const listener = new Listener(signal, () => this.#waiting.delete(listener.wake));
    this.#waiting.add(listener.wake);
    return listener;
  }
}

class Listener implements Disposable {
  readonly #signal: AbortSignal;
  readonly #end: () => void;
  #resolve: (() => void) | undefined;

  constructor(signal: AbortSignal, end: () => void) {
    this.#signal = signal;
    this.#end = end;
    // Once for all waits: a listener for each would stay with the signal.
    signal.addEventListener("abort", this.wake);
  }

  readonly wake = (): void => {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    resolve?.();
  };

  /** Resolves at the next news, or at the signal. */
  next(): Promise<void> {
    if (this.#signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  [Symbol.dispose](): void {
    this.#end();
    this.#signal.removeEventListener("abort", this.wake);
    this.wake();
  }
}
