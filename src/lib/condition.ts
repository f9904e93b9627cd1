/** Waits until something is the case: whatever changes it calls wake(). */
export class Condition {
  readonly #checks = new Set<() => void>();

  /** Resolves as soon as the predicate holds. Rejects with the signal's reason. */
  until(predicate: () => boolean, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        const aborted = signal?.aborted === true;
        if (!aborted && !predicate()) return;
        this.#checks.delete(check);
        signal?.removeEventListener("abort", check);
        if (aborted) reject(signal?.reason);
        else resolve();
      };
      this.#checks.add(check);
      signal?.addEventListener("abort", check);
      check();
    });
  }

  /** Lets everything that waits look again. */
  wake(): void {
    for (const check of [...this.#checks]) check();
  }

  /**
   * For a loop that waits again and again, until the signal aborts or it disposes of the listener. A change between two
   * waits is not remembered: look first, then wait in the same turn.
   */
  listen(signal: AbortSignal): Listener {
    const listener = new Listener(signal, () => this.#checks.delete(listener.wake));
    this.#checks.add(listener.wake);
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
    // One abort listener for all waits: one for each wait would pile up on the signal.
    signal.addEventListener("abort", this.wake);
  }

  readonly wake = (): void => {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    resolve?.();
  };

  /** Resolves at the next wake(), or when the signal aborts. */
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
