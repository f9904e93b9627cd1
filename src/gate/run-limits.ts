/** When the gate stops a build or a lease by itself, and when it gives one up. */
import { formatDuration } from "#/lib/units.ts";
import type { GateRecord, StopReason } from "./store.ts";

/** How long the gate looks for a build that it stopped, or whose time is over, before it gives it up. */
const lostTimeoutMs = 15 * 60 * 1000;
/** A lease ends by its agent's clock; the gate's counts where the agent allows more. */
const leaseGraceMs = 3000;

/** @param seenAt when its caller was heard last; all times are Unix milliseconds */
export function limitReached(record: GateRecord, now: number, seenAt: number): StopReason | undefined {
  const { started, queueUntil, runMs, clientTimeoutMs, created } = record;
  const until = runUntil(record);
  if (started === undefined && now > queueUntil) {
    const waited = formatDuration(queueUntil - created);
    return { cause: "queue", reason: `no node has taken it within ${waited}` };
  }
  if (until !== undefined && now > until + (record.lease ? leaseGraceMs : 0))
    return { cause: "run", reason: `it took longer than ${formatDuration(runMs)}, which the gate allows` };
  if (clientTimeoutMs === undefined || now <= seenAt + clientTimeoutMs) return undefined;
  const silent = formatDuration(clientTimeoutMs);
  return { cause: "client-gone", reason: `its client has given no sign of life for ${silent}` };
}

/** Undefined: its time hasn't begun. A lease's begins with the board, and a build's with its agent. */
export function runUntil({ lease, started, runMs }: GateRecord): number | undefined {
  const begun = lease ? lease.begun : started;
  return begun === undefined ? undefined : begun + runMs;
}

/** Its agent doesn't come back, and the time it may take is long over. */
export function isGivenUp({ started, queueUntil, runMs }: GateRecord, now: number): boolean {
  return now >= (started ?? queueUntil) + runMs + lostTimeoutMs;
}
