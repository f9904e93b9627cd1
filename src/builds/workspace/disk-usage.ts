/** How much disk space a folder takes, and which builds can go to free some. */
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import type { BuildSummary } from "../record.ts";
import { Warnings, walk } from "./find.ts";

/** Bytes on the disk below a folder; 0 for one that isn't there. What can't be looked at doesn't count. */
export async function diskUsage(folder: string): Promise<number> {
  let bytes = 0;
  for await (const path of walk(folder, "", Number.POSITIVE_INFINITY, new Warnings())) {
    const stat = await lstat(join(folder, path)).catch(() => undefined);
    bytes += (stat?.blocks ?? 0) * 512;
  }
  return bytes;
}

/**
 * Finished builds that can be removed when there is no room, the oldest first: not each job's newest, and none whose ending
 * a client still lacks.
 * @param finished the newest first
 */
export function dispensable(finished: readonly BuildSummary[]): BuildSummary[] {
  const newest = new Map<string, number>();
  for (const { job, number } of finished) newest.set(job, Math.max(number, newest.get(job) ?? 0));
  return finished.filter((build) => !build.undelivered && newest.get(build.job) !== build.number).reverse();
}
