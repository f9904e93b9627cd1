/** Workspaces: the folders that jobs work in, kept between builds. */
import { createHash, randomUUID } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { jobFolder, jobOfFolder } from "#/lib/job-folder.ts";
import { BuildError } from "../errors.ts";
import { isName, makeFolders } from "./files.ts";
import { removeTree } from "./remove.ts";

/** No name of a job or a cache starts like this. */
export const asidePrefix = ".old-";

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
  return { executor, job: build.job, folder: join(stateDir, "workspaces", executor, jobFolder(build.job)) };
}

/**
 * Creates `STATE/workspaces/EXECUTOR/JOB`, or finds it as the job's last build on that executor left it. The content stays, for
 * incremental builds; a checkout empties it. A link that a build planted in the way is replaced, never followed. (A process
 * that outlived its build could still race us here; it runs as the same user and gains nothing.)
 * @returns its real path
 * @throws BuildError WORKSPACE
 */
export function prepareWorkspace(place: {
  readonly stateDir: string;
  readonly executor: string;
  readonly job: string;
}): string {
  const folder = jobFolder(place.job);
  const parts = ["workspaces", place.executor, folder];
  for (const part of parts) {
    if (!isName(part)) {
      throw new BuildError(
        "WORKSPACE",
        `${JSON.stringify(part.slice(0, 100))} can't be the name of a workspace's folder`,
      );
    }
  }
  try {
    const above = makeFolders(realpathSync.native(place.stateDir), ["workspaces", place.executor]);
    return makeUsable(above, folder);
  } catch (cause) {
    const why = (cause as Error).message;
    throw new BuildError("WORKSPACE", `the workspace of ${place.job} can't be created: ${why}`, { cause });
  }
}

/**
 * Takes a workspace that a build of changes has used away from a build of the lab's own. A file beside it, where no build can
 * write, says which have.
 * @returns whether one was taken away
 * @throws the file system's error
 */
export async function keepTrustApart(
  place: { readonly stateDir: string; readonly executor: string; readonly job: string },
  trust: "changes" | "lab",
): Promise<boolean> {
  const above = makeFolders(realpathSync.native(place.stateDir), ["workspaces", place.executor]);
  const folder = jobFolder(place.job);
  const mark = join(above, `.changes-${createHash("sha256").update(folder).digest("hex").slice(0, 32)}`);
  const remove = () => rmSync(mark, { recursive: true, force: true });
  if (trust === "changes") {
    if (existsSync(mark)) return false;
    try {
      writeFileSync(mark, "", { flag: "wx" });
    } catch {
      // A build that runs as the agent's user can put anything there.
      remove();
      writeFileSync(mark, "", { flag: "wx" });
    }
    return false;
  }
  if (!existsSync(mark)) return false;
  const aside = makeWay(join(above, folder));
  remove();
  // What is left of it is removed at the next start.
  if (aside !== undefined) await removeTree(aside).catch(() => {});
  return aside !== undefined;
}

/** A folder that belongs to somebody else, as a container leaves it, or can't be changed at all, is moved aside. */
function makeUsable(above: string, name: string): string {
  try {
    const workspace = makeFolders(above, [name]);
    accessSync(workspace, constants.R_OK | constants.W_OK | constants.X_OK);
    return workspace;
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["EACCES", "EPERM", "EROFS"].includes(code) || makeWay(join(above, name)) === undefined) throw error;
    return makeFolders(above, [name]);
  }
}

/** All workspaces, the least recently changed first; links aren't followed. */
export async function listWorkspaces(stateDir: string): Promise<Workspace[]> {
  const base = join(stateDir, "workspaces");
  const found: (Workspace & { changed: number })[] = [];
  for (const executor of await folders(base)) {
    for (const name of await folders(join(base, executor))) {
      const folder = join(base, executor, name);
      const changed = (await lstat(folder).catch(() => undefined))?.mtimeMs ?? 0;
      found.push({ executor, job: jobOfFolder(name), folder, changed });
    }
  }
  return found.sort((a, b) => a.changed - b.changed);
}

/**
 * Removes a workspace, or a job's caches, that no build uses.
 * @param isUsed asked just before the removal; a build that comes later creates new ones
 * @returns false when it is in use
 * @throws BuildError REMOVE when a part of it is left, aside
 */
export async function removeWorkspace({ folder }: Workspace, isUsed: () => boolean): Promise<boolean> {
  if (isUsed()) return false;
  // In the same turn as isUsed(): no build can begin in between.
  const aside = setAside(folder);
  if (aside !== undefined) await removeTree(aside);
  return true;
}

/**
 * Moves a workspace out of the way, whatever its content and owner; at worst it stays there until somebody removes it.
 * @returns where it is now; undefined: there is none
 * @throws the file system's error
 */
export function setAside(workspace: string): string | undefined {
  const aside = join(dirname(workspace), `${asidePrefix}${randomUUID()}`);
  try {
    renameSync(workspace, aside);
    return aside;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Like setAside(), for an executor that has nothing running: what can't be renamed itself, an immutable folder or a mount point,
 * goes with the executor's folder, and the other workspaces come back from there.
 * @throws the file system's error
 */
export function makeWay(workspace: string): string | undefined {
  try {
    return setAside(workspace);
  } catch (error) {
    if (!["EPERM", "EBUSY"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
  const executor = dirname(workspace);
  const aside = join(dirname(executor), `${asidePrefix}${randomUUID()}`);
  renameSync(executor, aside);
  mkdirSync(executor);
  for (const name of readdirSync(aside)) {
    if (name !== basename(workspace)) renameSync(join(aside, name), join(executor, name));
  }
  return aside;
}

/** What setAside() and makeWay() moved and nobody could remove yet. */
export async function listAside(stateDir: string): Promise<string[]> {
  const base = join(stateDir, "workspaces");
  const found: string[] = [];
  for (const folder of [base, ...(await folders(base)).map((executor) => join(base, executor))]) {
    const names = await readdir(folder).catch(() => []);
    for (const name of names) if (name.startsWith(asidePrefix)) found.push(join(folder, name));
  }
  return found;
}

async function folders(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && isName(entry.name) && !entry.name.startsWith(asidePrefix))
    .map(({ name }) => name);
}
