/** Workspaces: the folders that jobs work in, kept between builds. */
import { renameSync } from "node:fs";
import { chmod, lstat, opendir, readdir, realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import { BuildError } from "../errors.ts";
import { isName, makeFolders } from "./files.ts";

/** `STATE/workspaces/EXECUTOR/JOB`. */
export interface Workspace {
  /** The host executor's number, or `device-NAME`. */
  readonly executor: string;
  readonly job: string;
  readonly folder: string;
}

export function workspaceOf(
  stateDir: string,
  build: { executor: number; device?: string; job: string },
): Workspace {
  const executor =
    build.device === undefined ? String(build.executor) : `device-${encodeURIComponent(build.device)}`;
  return { executor, job: build.job, folder: join(stateDir, "workspaces", executor, build.job) };
}

/**
 * Creates `STATE/workspaces/EXECUTOR/JOB`, or finds it as the job's last build on that executor left it. The content stays, for
 * incremental builds; a checkout empties it. A link that a build planted in the way is replaced, never followed. (A process
 * that outlived its build could still race us here; it runs as the same user and gains nothing.)
 * @returns its real path
 * @throws BuildError WORKSPACE
 */
export async function prepareWorkspace(place: {
  readonly stateDir: string;
  readonly executor: string;
  readonly job: string;
}): Promise<string> {
  const parts = ["workspaces", place.executor, place.job];
  for (const part of parts) {
    if (!isName(part)) {
      throw new BuildError(
        "WORKSPACE",
        `${JSON.stringify(part.slice(0, 100))} can't be the name of a workspace's folder`,
      );
    }
  }
  try {
    return await makeFolders(await realpath(place.stateDir), parts);
  } catch (cause) {
    const why = (cause as Error).message;
    throw new BuildError("WORKSPACE", `the workspace of ${place.job} can't be created: ${why}`, { cause });
  }
}

/** All workspaces, the least recently changed first; links aren't followed. */
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
 * Removes a workspace that no build uses.
 * @param isUsed asked just before the removal; a build that comes later creates a new workspace
 * @returns false when it is in use
 * @throws the file system's error
 */
export async function removeWorkspace(
  stateDir: string,
  workspace: Workspace,
  isUsed: () => boolean,
): Promise<boolean> {
  // No executor has this name. If a crash leaves it behind, the next call removes it.
  const aside = join(stateDir, "workspaces", ".old");
  await removeTree(aside);
  if (isUsed()) return false;
  // In the same turn as isUsed(): no build can begin in between.
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

/**
 * Removes a file, a link or a whole folder, even with read-only folders in it, as in Go's module cache.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EACCES" && code !== "EPERM" && code !== "ENOTEMPTY") throw error;
    await unlock(path);
    await rm(path, { recursive: true, force: true });
  }
}

async function unlock(folder: string): Promise<void> {
  if (!(await lstat(folder)).isDirectory()) return;
  await chmod(folder, 0o700);
  for await (const entry of await opendir(folder)) {
    if (entry.isDirectory()) await unlock(join(folder, entry.name));
  }
}
