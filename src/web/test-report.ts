/** The stored test report of a build. */
import type { TestCase, TestReport } from "#/builds/junit.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { openStored } from "#/builds/workspace/files.ts";
import { recordOf } from "./request.ts";

/** Larger than any report that the agent stores. */
const maxReportBytes = 64 * 1024 * 1024;

/** @returns undefined if the job has no test reports */
export async function readTestReport(found: FoundBuild): Promise<TestReport | undefined> {
  const { tests, warnings = [] } = await recordOf(found);
  if (!tests) return undefined;
  const cases = await readCases(found.folder);
  const time = cases.reduce((sum, test) => sum + (Number(test.time) || 0), 0);
  return {
    // A time in the record also counts the cases that were not stored.
    totals: { time, ...tests },
    cases,
    warnings: warnings.filter((warning) => warning.includes("test report")),
  };
}

async function readCases(folder: string): Promise<TestCase[]> {
  const file = await openStored(folder, "tests.json");
  if (!file) return [];
  await using _ = file;
  if ((await file.stat()).size > maxReportBytes) return [];
  try {
    const cases: unknown = JSON.parse(await file.readFile("utf8"));
    return Array.isArray(cases) ? cases : [];
  } catch {
    return [];
  }
}
