/** Waits for conditions of a life cycle: whoever changes something wakes those who wait. */
export class Waiting {
  readonly #checks = new Set<() => void>();

  /** Resolves when the condition holds. Rejects with the signal's reason. */
  until(condition: () => boolean, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        const aborted = signal?.aborted === true;
        if (!aborted && !condition()) return;
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

  wake(): void {
    for (const check of [...this.#checks]) check();
  }
}
