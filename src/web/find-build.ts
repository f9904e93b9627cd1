/** Finds the build that a request names. */
import { type BuildRecord, readRecord } from "#/builds/record.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { RequestError } from "./errors.ts";
import type { Lab } from "./lab.ts";

/** @throws RequestError 404 */
export function findBuild(lab: Lab, job: string, number: string): FoundBuild {
  if (/^[1-9][0-9]{0,14}$/.test(number)) {
    const found = lab.builds.find({ job, number: Number(number) });
    if (found) return found;
  }
  throw new RequestError(404, "there is no such build: it never was, or is no longer kept");
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
