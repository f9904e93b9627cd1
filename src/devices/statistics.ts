/**
 * Board or software? How often each board failed each job against its siblings of the class, and whether that can be chance. Pure.
 *
 * Once a day, on what happened before midnight (UTC), each board is tested against its siblings together: the one-sided exact
 * test of R. A. Fisher, Statistical Methods for Research Workers (5th ed. 1934), §21.02; see also A. Agresti, Categorical Data
 * Analysis (3rd ed. 2013), §3.5. Given how many builds of a job failed on all boards, software that fails everywhere alike
 * raises no suspicion. Over the jobs of a board the smallest p-value counts, times their number (Bonferroni); over the boards
 * of a class it is S. Holm's step-down, 'A simple sequentially rejective multiple test procedure', Scand. J. Statist. 6 (1979)
 * 65–70. The 1 % of false alarms for each class and 30 days is spent in equal parts over the 30 daily looks and the two
 * windows. That holds however the looks depend on each other, as overlapping windows do (Bonferroni again); the spending
 * functions of K. K. G. Lan and D. L. DeMets, Biometrika 70 (1983) 659–663, would need data that only grow.
 */
import type { BuildEvent } from "#/lib/board-history.ts";
import type { BoardTally, Suspicion, TallyWindow } from "#/lib/status.ts";
import { isBoardsFault } from "./errors.ts";

export const dayMs = 86_400_000;
const windows: readonly TallyWindow[] = [7, 30];
const longestDays = 30 satisfies TallyWindow;
/** For each class and 30 days. */
const falseAlarmRate = 0.01;
const looks = 30;

/** Whether a build says something about board or software; undefined: stopped, lost, refused, or the box's or client's fault. */
export function outcomeOf({ ending, cause, uncounted }: BuildEvent): "passed" | "failed" | undefined {
  if (uncounted || cause === "input") return undefined;
  if (ending === "passed") return "passed";
  if (ending === "failed" || ending === "timed-out") return "failed";
  return ending === "infrastructure" && isBoardsFault(cause) ? "failed" : undefined;
}

/** Before the last number sign: JOB#NUMBER. */
export function jobOf({ build }: BuildEvent): string {
  return build.slice(0, build.lastIndexOf("#"));
}

/** The midnight (UTC) that a look at this time goes back from. */
export function lookOf(now: number): number {
  return Math.floor(now / dayMs) * dayMs;
}

/** Counts a board's builds by job and window. @param end builds from this time on don't count */
export function tally(events: readonly BuildEvent[], end: number): BoardTally[] {
  const tallies = new Map<
    string,
    {
      passed: Record<TallyWindow, number>;
      failed: Record<TallyWindow, number>;
      causes: Record<string, number>;
    }
  >();
  // ISO 8601 in UTC: times compare as text.
  const since = { 7: isoBefore(end, 7), 30: isoBefore(end, 30) };
  const until = isoBefore(end, 0);
  for (const event of events) {
    const { at } = event;
    const outcome = at < since[longestDays] || at >= until ? undefined : outcomeOf(event);
    if (outcome === undefined) continue;
    const job = jobOf(event);
    const known = tallies.get(job) ?? { passed: { 7: 0, 30: 0 }, failed: { 7: 0, 30: 0 }, causes: {} };
    tallies.set(job, known);
    for (const days of windows) if (at >= since[days]) known[outcome][days] += 1;
    if (outcome === "failed") known.causes[event.cause] = (known.causes[event.cause] ?? 0) + 1;
  }
  return [...tallies].map(([job, { passed, failed, causes }]) => ({
    job,
    failed,
    builds: { 7: passed[7] + failed[7], 30: passed[30] + failed[30] },
    causes,
  }));
}

function isoBefore(end: number, days: number): string {
  return new Date(end - days * dayMs).toISOString();
}

/** A board of a class. */
export interface TalliedBoard {
  readonly name: string;
  readonly tallies: readonly BoardTally[];
}

/** @returns the boards of one class that fail a job more often than chance explains */
export function findSuspects<B extends TalliedBoard>(
  boards: readonly B[],
): { board: B; suspicion: Suspicion }[] {
  const found = new Map<B, Suspicion>();
  for (const days of windows) {
    const tested = boards.map((board) => ({ board, suspicion: worstJob(board, boards, days) }));
    const ranked = tested.sort((a, b) => a.suspicion.p - b.suspicion.p);
    for (const [rank, { board, suspicion }] of ranked.entries()) {
      if (suspicion.p > falseAlarmRate / looks / windows.length / (boards.length - rank)) break;
      // The longer window has more builds to show.
      found.set(board, suspicion);
    }
  }
  return [...found].map(([board, suspicion]) => ({ board, suspicion }));
}

/** Of all jobs the one with the smallest p-value, times their number. */
function worstJob(board: TalliedBoard, boards: readonly TalliedBoard[], days: TallyWindow): Suspicion {
  const jobs = board.tallies.filter(({ builds }) => builds[days] > 0);
  let worst: Suspicion = { job: "", days, failed: 0, builds: 0, siblingFailed: 0, siblingBuilds: 0, p: 1 };
  for (const { job, failed, builds } of jobs) {
    const siblings = boards
      .filter((other) => other !== board)
      .flatMap(({ tallies }) => tallies.find((one) => one.job === job) ?? []);
    const counts = {
      ...{ failed: failed[days], builds: builds[days] },
      siblingFailed: siblings.reduce((sum, other) => sum + other.failed[days], 0),
      siblingBuilds: siblings.reduce((sum, other) => sum + other.builds[days], 0),
    };
    const p = Math.min(1, jobs.length * fisher(counts));
    if (p < worst.p) worst = { job, days, ...counts, p };
  }
  return worst;
}

/**
 * Fisher's exact test, one-sided.
 * @returns how likely the board has at least so many of all failures, if every build fails on every board alike
 * @internal
 */
export function fisher({
  failed,
  builds,
  siblingFailed,
  siblingBuilds,
}: Omit<Suspicion, "job" | "days" | "p">): number {
  const all = builds + siblingBuilds;
  const allFailed = failed + siblingFailed;
  if (failed === 0 || siblingBuilds === 0) return 1;
  const ways = logChoose(all, builds);
  let p = 0;
  for (let count = failed; count <= Math.min(builds, allFailed); count++)
    p += Math.exp(logChoose(allFailed, count) + logChoose(all - allFailed, builds - count) - ways);
  return Math.min(1, p);
}

const logFactorials: number[] = [0];

function logFactorial(n: number): number {
  for (let i = logFactorials.length; i <= n; i++)
    logFactorials.push((logFactorials[i - 1] ?? 0) + Math.log(i));
  return logFactorials[n] ?? 0;
}

function logChoose(n: number, k: number): number {
  return k < 0 || k > n ? Number.NEGATIVE_INFINITY : logFactorial(n) - logFactorial(k) - logFactorial(n - k);
}

/** Failures that the next build of the job in the class followed with a pass, for a job to be flaky. */
const minLoneFailures = 3;

/**
 * Jobs that fail now and then on whatever board they run: on two boards at least, none of them suspect, and each time the next
 * build passed. Software that is broken fails in a row.
 * @param suspects jobs for which a board is suspected
 */
export function findFlaky(
  boards: readonly { readonly name: string; readonly events: readonly BuildEvent[] }[],
  suspects: ReadonlySet<string>,
  end: number,
): string[] {
  const [since, until] = [isoBefore(end, longestDays), isoBefore(end, 0)];
  const builds = boards
    .flatMap(({ name, events }) => events.map((event) => ({ board: name, event, outcome: outcomeOf(event) })))
    .filter(({ event: { at }, outcome }) => outcome !== undefined && at >= since && at < until)
    .sort((a, b) => (a.event.at < b.event.at ? -1 : 1));
  const flaky: string[] = [];
  for (const [job, all] of Map.groupBy(builds, ({ event }) => jobOf(event))) {
    const lone = all.filter(
      ({ outcome }, index) => outcome === "failed" && all[index + 1]?.outcome === "passed",
    );
    const isOnSeveral = new Set(lone.map(({ board }) => board)).size > 1;
    if (lone.length >= minLoneFailures && isOnSeveral && !suspects.has(job)) flaky.push(job);
  }
  return flaky.sort();
}
