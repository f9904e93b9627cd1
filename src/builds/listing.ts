/** Running and finished builds in one list. */
import type { Build } from "./build.ts";
import type { BuildStore } from "./store.ts";
import type { BuildSummary } from "./summary.ts";

export interface ListedBuild {
  readonly summary: BuildSummary;
  /** Absent: it has ended. */
  readonly running?: Build;
}

/**
 * The builds of one job or of all, the newest first. A running one's summary is its whole record.
 * @param job absent: all
 */
export function listBuilds(store: BuildStore, job?: string): ListedBuild[] {
  const running = store.running.filter(({ record }) => job === undefined || record.job === job);
  const all: ListedBuild[] = [
    ...running.map((build) => ({ summary: build.record, running: build })),
    ...store.finished(job).map((summary) => ({ summary })),
  ];
  // A job's numbers are right even when the clock was not; between jobs there is only the clock.
  return all.sort(
    ({ summary: a }, { summary: b }) =>
      (job === undefined && compare(b.assigned, a.assigned)) || b.number - a.number,
  );
}

/** Times as ISO 8601 in UTC, as text. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
