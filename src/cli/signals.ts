/** Signals, for this program's own handlers alone. */

/** Those that came before their handler. */
const early = new Set<NodeJS.Signals>();

/** Keeps the signals that come from now on, each once, until onSignals() sets their handler. */
export function keepSignals(signals: readonly NodeJS.Signals[]): void {
  for (const signal of signals) process.on(signal, () => early.add(signal));
}

/**
 * Calls the handler for each of the signals, also for a kept one, and no other listener. conf's when-exit listens too, and
 * sends each first signal once more: one Ctrl-C would count as two. What it has to clean up it also does at the exit.
 * @returns disposing of it takes the handler off
 */
export function onSignals(signals: readonly NodeJS.Signals[], handler: () => void): Disposable {
  for (const signal of signals) {
    const others = process.listeners(signal);
    // Before the others go: a signal that comes while there is no listener at all would end the process.
    process.on(signal, handler);
    for (const other of others) process.off(signal, other);
    if (early.delete(signal)) queueMicrotask(handler);
  }
  return {
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, handler);
    },
  };
}
