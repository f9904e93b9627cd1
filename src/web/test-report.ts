/** The test report that was kept of a build. */

import type { TestCase, TestReport } from "#/builds/junit.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { openStored } from "#/builds/workspace/files.ts";
import { recordOf } from "./find-build.ts";

/** The largest that is believed, in bytes; what is kept of reports is smaller. */
const largest = 64 * 1024 * 1024;

/** @returns undefined: the job has no reports */
export async function testReport(found: FoundBuild): Promise<TestReport | undefined> {
  const { tests, warnings = [] } = await recordOf(found);
  if (!tests) return undefined;
  const cases = await readCases(found.folder);
  const time = cases.reduce((sum, test) => sum + (Number(test.time) || 0), 0);
  return {
    // The record's own time, where it has one, is that of all cases, also of those that weren't kept.
    totals: { time, ...tests },
    cases,
    warnings: warnings.filter((warning) => warning.includes("test report")),
  };
}

async function readCases(folder: string): Promise<TestCase[]> {
  const file = await openStored(folder, "tests.json");
  if (!file) return [];
  await using _ = file;
  if ((await file.stat()).size > largest) return [];
  try {
    const cases: unknown = JSON.parse(await file.readFile("utf8"));
    return Array.isArray(cases) ? cases : [];
  } catch {
    return [];
  }
}
