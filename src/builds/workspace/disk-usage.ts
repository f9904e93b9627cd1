/** Room on the disk: how much a build takes, and what can go: old builds, and workspaces that nobody works in. */
import { renameSync } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { BuildSummary } from "../summary.ts";
import { Warnings, walk } from "./find.ts";
import { isName, removeTree } from "./workspace.ts";

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

/** Where `STATE/workspaces/EXECUTOR/JOB` is; a device's executor is named after it: no number, and no path. */
export interface Workspace {
  readonly executor: string;
  readonly job: string;
  readonly folder: string;
}

/** The workspace that a build works in. */
export function workspaceOf(
  stateDir: string,
  build: { executor: number; device?: string; job: string },
): Workspace {
  const executor =
    build.device === undefined ? String(build.executor) : `device-${encodeURIComponent(build.device)}`;
  return { executor, job: build.job, folder: join(stateDir, "workspaces", executor, build.job) };
}

/** All workspaces, the one that was longest left alone first; links aren't followed. */
export async function listWorkspaces(stateDir: string): Promise<Workspace[]> {
  const base = join(stateDir, "workspaces");
  const found: (Workspace & { changed: number })[] = [];
  for (const executor of await folders(base)) {
    for (const job of await folders(join(base, executor))) {
      const folder = join(base, executor, job);
      const changed = (await lstat(folder).catch(() => undefined))?.mtimeMs ?? 0;
      found.push({ executor, job, folder, changed });
    }
  }
  return found.sort((a, b) => a.changed - b.changed);
}

/**
 * Removes a workspace that nobody works in.
 * @param isUsed is asked in the moment before it goes; a build that comes later makes a new one
 * @returns false when it is in use
 * @throws the file system's error
 */
export async function removeWorkspace(
  stateDir: string,
  workspace: Workspace,
  isUsed: () => boolean,
): Promise<boolean> {
  // No executor has this name. One that a crash left is removed with the next.
  const aside = join(stateDir, "workspaces", ".old");
  await removeTree(aside);
  if (isUsed()) return false;
  // In the same turn as the question: between them no build can begin.
  try {
    renameSync(workspace.folder, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  await removeTree(aside);
  return true;
}

async function folders(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory() && isName(entry.name)).map(({ name }) => name);
}
