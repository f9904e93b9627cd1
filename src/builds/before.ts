/** A build among the others of its job: when the job last passed, since when it fails, and which failed tests are new. */
import type { TestCase } from "./junit-reader.ts";
import { type BuildSummary, readCases } from "./record.ts";
import type { BuildStore } from "./store.ts";

/** Of a failed build; builds that were stopped, or that the infrastructure failed, say nothing and don't count. */
export interface Trend {
  /** The last build before it that passed; absent: none that is kept. */
  readonly lastPassed?: BuildSummary;
  /** The first of the failed builds in a row that ends with this one. */
  readonly failsSince: BuildSummary;
  /** How many they are. */
  readonly failures: number;
}

/** A failed test compared with the builds before. */
export type TestTrend =
  /** It passed in the build before, or wasn't there. */
  | { readonly kind: "new" }
  /** It has failed since this build. */
  | { readonly kind: "known"; readonly since: number }
  /** In the builds before, it failed and passed in turns. */
  | { readonly kind: "flaky"; readonly failed: number; readonly of: number };

/** The cases of one build. */
export interface TestRun {
  readonly number: number;
  readonly cases: readonly TestCase[];
}

const judged = new Set(["passed", "failed", "timed-out"]);
/** How many builds are read to judge a test. */
const maxRuns = 10;
/** A change from passed to failed may be the software's; a second one is a test that can't be relied on. */
const minChanges = 3;

/** @returns undefined for a build that hasn't failed */
export function trendOf(store: BuildStore, build: BuildSummary): Trend | undefined {
  const kind = build.ending?.kind;
  if (kind !== "failed" && kind !== "timed-out") return undefined;
  const earlier = judgedBefore(store, build);
  const passed = earlier.findIndex(({ ending }) => ending?.kind === "passed");
  const failed = passed < 0 ? earlier : earlier.slice(0, passed);
  const lastPassed = earlier[passed];
  return {
    ...(lastPassed && { lastPassed }),
    failsSince: failed.at(-1) ?? build,
    failures: failed.length + 1,
  };
}

/** The builds of the same job before it that passed or failed, the newest first. */
function judgedBefore(store: BuildStore, { job, number }: BuildSummary): BuildSummary[] {
  return store.finished(job).filter((other) => other.number < number && judged.has(other.ending?.kind ?? ""));
}

/** The test cases of the builds before it, the newest first. Builds without any are left out. */
export async function runsBefore(store: BuildStore, build: BuildSummary): Promise<TestRun[]> {
  const runs: TestRun[] = [];
  for (const { job, number } of judgedBefore(store, build).slice(0, maxRuns)) {
    const cases = await readCases(store.folder(job, number));
    if (cases) runs.push({ number, cases });
  }
  return runs;
}

/** @returns for each failed test what the builds before say of it, by its key */
export function compareTests(cases: readonly TestCase[], before: readonly TestRun[]): Map<string, TestTrend> {
  const earlier = before.map(({ number, cases }) => ({
    number,
    failed: new Map(
      cases.filter(({ status }) => status !== "skipped").map((test) => [testKey(test), hasFailed(test)]),
    ),
  }));
  return new Map(
    cases.filter(hasFailed).map((test) => {
      const key = testKey(test);
      const history = earlier.flatMap(({ number, failed }) => {
        const outcome = failed.get(key);
        return outcome === undefined ? [] : [{ number, failed: outcome }];
      });
      return [key, trendOfTest(history)];
    }),
  );
}

/** @param history the newest first, before the failure in question */
function trendOfTest(history: readonly { readonly number: number; readonly failed: boolean }[]): TestTrend {
  const outcomes = [true, ...history.map(({ failed }) => failed)];
  const changes = outcomes.filter((failed, index) => index > 0 && failed !== outcomes[index - 1]).length;
  if (changes >= minChanges)
    return { kind: "flaky", failed: outcomes.filter(Boolean).length - 1, of: history.length };
  const passed = history.findIndex(({ failed }) => !failed);
  const since = history[(passed < 0 ? history.length : passed) - 1];
  return since ? { kind: "known", since: since.number } : { kind: "new" };
}

export function hasFailed({ status }: TestCase): boolean {
  return status === "failed" || status === "error";
}

/** What makes a test the same one in two builds. */
export function testKey({ suite, classname, name }: Pick<TestCase, "suite" | "classname" | "name">): string {
  return JSON.stringify([suite, classname, name]);
}
