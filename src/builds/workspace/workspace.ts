/**
 * Workspaces: the folder a job works in, kept between builds, and safe ways below a folder that a job could
 * write to.
 */
import { constants } from "node:fs";
import {
  chmod,
  type FileHandle,
  lstat,
  mkdir,
  open,
  opendir,
  readlink,
  realpath,
  rm,
  unlink,
} from "node:fs/promises";
import { isAbsolute, join, sep } from "node:path";
import { BuildError } from "../errors.ts";

/**
 * Makes `STATE/workspaces/EXECUTOR/JOB`, or finds it as the last build of the job on that executor left it.
 * The content is kept, so that a job can build incrementally; a checkout empties it. A link that a build
 * planted in the way is replaced, never followed. (A process that outlived its build could still race us
 * here; it is the same user, so that it gains nothing by it.)
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
    throw new BuildError("WORKSPACE", `the workspace of ${place.job} can't be made: ${why}`, { cause });
  }
}

/**
 * Makes each folder of the path that isn't there. Whatever else is in the way is removed, a symbolic link
 * without following it.
 * @param base a folder's real path, trusted
 * @param parts names for which isName() holds
 * @returns the path of the last one, which is real as well
 */
export async function makeFolders(base: string, parts: readonly string[]): Promise<string> {
  let path = base;
  for (const part of parts) {
    path = join(path, part);
    await makeFolder(path);
  }
  if ((await realpath(path)) !== path) throw new Error(`${path} was replaced by a link while it was made`);
  return path;
}

async function makeFolder(path: string, tries = 3): Promise<void> {
  const there = await lstat(path).catch(ignoreMissing);
  if (there?.isDirectory()) {
    // A job may have locked itself out, and us with it.
    if ((there.mode & 0o700) !== 0o700) await chmod(path, (there.mode & 0o777) | 0o700);
    return;
  }
  try {
    if (there) await unlink(path);
    await mkdir(path, { mode: 0o755 });
  } catch (error) {
    // Another executor's build was faster: the upper folders are shared.
    const isRace = ["EEXIST", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? "");
    if (!isRace || tries <= 1) throw error;
    await makeFolder(path, tries - 1);
  }
}

/**
 * The path of something below a folder, by its words alone.
 * @param relative a path from outside, with "/" between names
 * @returns undefined when it is absolute, leads out, or has an odd part: an empty one, "." or "..", control
 * characters
 */
export function secureJoin(base: string, relative: string): string | undefined {
  if (isAbsolute(relative) || relative.length > 4096) return undefined;
  return relative.split("/").every(isName) ? join(base, relative) : undefined;
}

/**
 * Opens a regular file below a folder for reading. Links are followed as long as they end inside the folder.
 * What is opened is what was checked: devices, FIFOs and sockets are never opened, since that alone can do
 * things to them.
 * @param base the folder's real path
 * @param relative a path from outside
 * @returns the open file, or one line that says why not
 */
export async function openInside(base: string, relative: string): Promise<FileHandle | string> {
  const path = secureJoin(base, relative);
  if (path === undefined) return "its name is odd or leads out of the folder";
  let file: FileHandle | undefined;
  try {
    const real = await realpath(path);
    if (!isInside(base, real)) return "it is a link that leads out of the folder";
    if (!(await lstat(real)).isFile()) return "it is not a regular file";
    file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    // Between the check and the opening a folder on the way may have become a link.
    const opened = await readlink(`/proc/self/fd/${file.fd}`);
    if ((await file.stat()).isFile() && isInside(base, opened)) return file;
    await file.close();
    return "it was replaced while it was opened";
  } catch (error) {
    await file?.close();
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

/**
 * Removes a file, a link or a whole folder, also one in which the job made folders read-only, as Go's module
 * cache does.
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

/** True for a name that is one part of a path and can be printed on one line. */
export function isName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[/\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(name)) return false;
  return name !== "" && name !== "." && name !== ".." && Buffer.byteLength(name) <= 255;
}

function isInside(base: string, path: string): boolean {
  return path.startsWith(base.endsWith(sep) ? base : base + sep);
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
