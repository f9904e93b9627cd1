/** How much disk space a folder takes, and which builds can go to free some. */
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import type { BuildSummary } from "../record.ts";

/** How many files are looked at together: as many as Node does at one time. */
const batchSize = 64;

/**
 * Bytes on the disk below a folder, however many files there are; 0 when it isn't there. What can't be read doesn't count,
 * nor does what is mounted there from elsewhere.
 * @param signal ends the count: what was found until then is returned
 */
export async function diskUsage(folder: string, signal?: AbortSignal): Promise<number> {
  const device = (await lstat(folder).catch(() => undefined))?.dev;
  const folders = [folder];
  let bytes = 0;
  const count = async (paths: readonly string[]) => {
    const stats = await Promise.all(paths.map((path) => lstat(path).catch(() => undefined)));
    for (const [index, stat] of stats.entries()) {
      if (stat?.dev !== device) continue;
      bytes += (stat?.blocks ?? 0) * 512;
      if (stat?.isDirectory()) folders.push(paths[index] ?? "");
    }
  };
  for (let next = folders.shift(); next !== undefined && !signal?.aborted; next = folders.shift()) {
    let paths: string[] = [];
    try {
      for await (const { name } of await opendir(next)) {
        if (paths.push(join(next, name)) < batchSize) continue;
        await count(paths);
        paths = [];
        if (signal?.aborted) break;
      }
    } catch {
      // It went meanwhile, or its disk fails: the other folders still count.
    }
    await count(paths);
  }
  return bytes;
}

/**
 * Finished builds that can be removed to free space, the oldest first: not each job's newest, and none whose ending a client
 * still lacks.
 * @param finished the newest first
 */
export function dispensable(finished: readonly BuildSummary[]): BuildSummary[] {
  const newest = new Map<string, number>();
  for (const { job, number } of finished) newest.set(job, Math.max(number, newest.get(job) ?? 0));
  return finished.filter((build) => !build.undelivered && newest.get(build.job) !== build.number).reverse();
}
