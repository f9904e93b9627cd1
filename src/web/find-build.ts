/** Finds the build that a request names. */
import { realpath } from "node:fs/promises";
import type { Build } from "#/builds/build.ts";
import { type BuildRecord, readRecord } from "#/builds/record.ts";
import type { BuildSummary } from "#/builds/summary.ts";
import { RequestError } from "./errors.ts";
import type { Lab } from "./lab.ts";

/** A build of the box, running or finished. */
export interface FoundBuild {
  readonly job: string;
  readonly number: number;
  /** Where it lies on disk; may not be there for one that just began, or that a full disk kept from being stored. */
  readonly folder: string;
  /** Absent: it has ended. */
  readonly running?: Build;
  readonly summary: BuildSummary;
}

/** @throws RequestError 404 */
export function findBuild(lab: Lab, job: string, number: string): FoundBuild {
  if (/^[1-9][0-9]{0,14}$/.test(number)) {
    const found = findNumber(lab, job, Number(number));
    if (found) return found;
  }
  throw new RequestError(404, "there is no such build: it never was, or is no longer kept");
}

function findNumber(lab: Lab, job: string, number: number): FoundBuild | undefined {
  const { builds } = lab;
  const running = builds.findRunning({ job, number });
  const summary = running?.record ?? builds.findFinished({ job, number });
  if (!summary) return undefined;
  return { job, number, folder: builds.folder(job, number), summary, ...(running && { running }) };
}

/**
 * All that is known of it.
 * @throws RequestError 404 when its record can't be read
 */
export async function recordOf({ running, folder }: FoundBuild): Promise<BuildRecord> {
  if (running) return running.record;
  return readRecord(folder).catch(() => {
    throw new RequestError(404, "the record of this build can't be read");
  });
}

/** Its folder's real path; undefined: there is none. */
export function realFolder({ folder }: FoundBuild): Promise<string | undefined> {
  return realpath(folder).catch(() => undefined);
}
