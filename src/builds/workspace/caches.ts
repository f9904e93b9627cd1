/**
 * Caches: folders that a job names to keep them from build to build, on one executor and for one trust, at
 * `STATE/caches/EXECUTOR/JOB/TRUST/NAME`.
 */
import { chmod, lstat, readdir, realpath } from "node:fs/promises";
import { basename, join } from "node:path";
import { reason } from "#/lib/errors.ts";
import { jobFolder, jobOfFolder } from "#/lib/job-folder.ts";
import { formatSize } from "#/lib/units.ts";
import { BuildError } from "../errors.ts";
import { diskUsage } from "./disk-usage.ts";
import { isName, makeFolders } from "./files.ts";
import { removeTree } from "./remove.ts";
import { asidePrefix, setAside, type Workspace } from "./workspace.ts";

/** How long they are measured after a build. */
const measureTimeoutMs = 5000;

/**
 * Creates the caches of a build, or finds them as the last one left them.
 * @returns the folder that has them all, each, and a line for each one that had to be made anew
 * @throws BuildError WORKSPACE
 */
export async function prepareCaches(
  stateDir: string,
  build: { readonly executor: string; readonly job: string; readonly trust: string },
  names: readonly string[],
): Promise<{
  readonly folder: string;
  readonly folders: readonly string[];
  readonly lines: readonly string[];
}> {
  const parts = ["caches", build.executor, jobFolder(build.job), build.trust];
  try {
    if (![...parts, ...names].every(isName)) throw new Error("a name can't be that of a folder");
    const folder = makeFolders(await realpath(stateDir), parts);
    const folders: string[] = [];
    const lines: string[] = [];
    for (const name of names) {
      const make = async () => {
        const cache = makeFolders(folder, [name]);
        await chmod(cache, 0o700);
        folders.push(cache);
      };
      await make().catch(async (error: NodeJS.ErrnoException) => {
        // A container leaves it to another user.
        if (!["EACCES", "EPERM", "EROFS"].includes(error.code ?? "")) throw error;
        const aside = setAside(join(folder, name));
        if (aside === undefined) throw error;
        lines.push(`the cache ${name} can't be used (${error.code}): it is moved aside, and a new one made`);
        await removeTree(aside).catch(() => {});
        await make();
      });
    }
    return { folder, folders, lines };
  } catch (cause) {
    throw new BuildError("WORKSPACE", `the caches of ${build.job} can't be made: ${reason(cause)}`, {
      cause,
    });
  }
}

/**
 * Removes the caches of a build that have become too large.
 * @returns a line for each
 */
export async function boundCaches(folders: readonly string[], maxBytes: number): Promise<string[]> {
  const lines: string[] = [];
  const time = AbortSignal.timeout(measureTimeoutMs);
  for (const folder of folders) {
    const { bytes } = await diskUsage(folder, time);
    if (bytes <= maxBytes) continue;
    const aside = setAside(folder);
    if (aside !== undefined) await removeTree(aside);
    lines.push(
      `the cache ${basename(folder)} is removed: it has ${formatSize(bytes)}, and max-cache is ${formatSize(maxBytes)}`,
    );
  }
  return lines;
}

/** The folder of each job's caches on each executor, the least recently changed first; links aren't followed. */
export async function listCaches(stateDir: string): Promise<Workspace[]> {
  const base = join(stateDir, "caches");
  const found: (Workspace & { changed: number })[] = [];
  for (const executor of await foldersOf(base)) {
    for (const name of await foldersOf(join(base, executor))) {
      const folder = join(base, executor, name);
      let changed = 0;
      for (const cache of await cachesIn(folder)) changed = Math.max(changed, (await lstat(cache)).mtimeMs);
      found.push({ executor, job: jobOfFolder(name), folder, changed });
    }
  }
  return found.sort((a, b) => a.changed - b.changed);
}

/** @param folder of a job, as listCaches() has it */
export async function cachesIn(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const trust of await foldersOf(folder)) {
    for (const cache of await foldersOf(join(folder, trust))) found.push(join(folder, trust, cache));
  }
  return found;
}

/** What setAside() moved and nobody could remove yet. */
export async function listCachesAside(stateDir: string): Promise<string[]> {
  const found: string[] = [];
  for (const { folder } of await listCaches(stateDir)) {
    found.push(...(await cachesIn(folder)).filter((path) => basename(path).startsWith(asidePrefix)));
  }
  return found;
}

async function foldersOf(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory() && isName(entry.name)).map(({ name }) => name);
}
