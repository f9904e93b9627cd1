/** How long builds took. */
import type { BuildRecord } from "./record.ts";

type Timed = Pick<BuildRecord, "assigned" | "started" | "ended" | "ending" | "labels" | "took">;

/**
 * Milliseconds that a finished build worked. The times of a record are the clock's, which may have been set meanwhile;
 * `took` was measured, and isn't in the records of lost builds.
 */
export function durationOf({ took, assigned, started = assigned, ended }: Timed): number | undefined {
  if (took !== undefined) return took;
  if (ended === undefined) return undefined;
  return Math.max(0, Date.parse(ended) - Date.parse(started));
}

/**
 * The median of the last ten passed runs on nodes with the same labels, in milliseconds; undefined when there is none.
 * @param builds of one job, the newest first
 */
export function typicalDuration(builds: readonly Timed[], labels: readonly string[]): number | undefined {
  const durations = builds
    .filter((build) => build.ending?.kind === "passed" && build.labels.join() === labels.join())
    .slice(0, 10)
    .map((build) => durationOf(build) ?? 0)
    .filter((duration) => duration > 0)
    .sort((a, b) => a - b);
  return durations[Math.floor(durations.length / 2)];
}
