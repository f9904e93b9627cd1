/** Signals, for this program's own handlers alone. */

/**
 * Calls the handler for each of the signals, and nobody else. conf's when-exit listens too, and sends each first signal
 * once more: one Ctrl-C would count as two. What it has to clear away it also does at the exit.
 * @returns disposing of it takes the handler off
 */
export function onSignals(signals: readonly NodeJS.Signals[], handler: () => void): Disposable {
  for (const signal of signals) {
    const others = process.listeners(signal);
    // Before the others go: a signal that comes while there is no listener at all would be lost.
    process.on(signal, handler);
    for (const other of others) process.off(signal, other);
  }
  return {
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, handler);
    },
  };
}
