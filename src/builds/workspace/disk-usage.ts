/** How much disk space and how many inodes a folder takes, and which builds can be removed to free some. */
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { reason } from "#/lib/errors.ts";
import type { BuildSummary } from "../record.ts";
import { otherUsers } from "./others.ts";

/** How many lstat() calls run at once. */
const batchSize = 64;

export interface DiskUsage {
  bytes: number;
  inodes: number;
}

/**
 * What is on the disk below a folder, for any number of files; nothing when it doesn't exist. What can't be read doesn't count, unless
 * it is a build's, and neither do other file systems mounted there.
 * @param signal its abort ends the count: what was found so far is returned
 */
export async function diskUsage(folder: string, signal?: AbortSignal): Promise<DiskUsage> {
  const device = (await lstat(folder).catch(() => undefined))?.dev;
  const folders = [folder];
  const usage = { bytes: 0, inodes: 0 };
  let isClosed = false;
  const count = async (paths: readonly string[]) => {
    const stats = await Promise.all(paths.map((path) => lstat(path).catch(() => undefined)));
    for (const [index, stat] of stats.entries()) {
      if (stat?.dev !== device) continue;
      usage.bytes += (stat?.blocks ?? 0) * 512;
      usage.inodes += 1;
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
    } catch (error) {
      // It was removed, or its disk fails: the other folders still count.
      isClosed ||= reason(error) === "EACCES";
    }
    await count(paths);
  }
  const others = otherUsers();
  if (!isClosed || !others || signal?.aborted) return usage;
  return await others.measure(folder).catch(() => usage);
}

/**
 * Finished builds that can be removed to free space, the oldest first. Each job's newest stays, and so do those whose ending
 * hasn't been delivered.
 * @param finished the newest first
 */
export function dispensable(finished: readonly BuildSummary[]): BuildSummary[] {
  const newest = new Map<string, number>();
  for (const { job, number } of finished) newest.set(job, Math.max(number, newest.get(job) ?? 0));
  return finished.filter((build) => !build.undelivered && newest.get(build.job) !== build.number).reverse();
}
