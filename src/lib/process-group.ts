/** Signals a process group, if it still has a process. */
export function signalGroup(group: number, signal: NodeJS.Signals): void {
  // kill(2) takes 0 for the caller's own group, and -1 for every process.
  if (group <= 1) return;
  try {
    process.kill(-group, signal);
  } catch {
    // The group is empty.
  }
}
