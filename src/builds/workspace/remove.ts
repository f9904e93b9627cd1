/**
 * Removes trees in which a job could have left anything: any depth, any bytes as names, any modes. Every step goes through the
 * descriptor of a folder and follows no link, so a process that still moves things about can't lead it elsewhere.
 */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import {
  chmod,
  type FileHandle,
  lstat,
  open,
  opendir,
  readFile,
  rename,
  rmdir,
  unlink,
} from "node:fs/promises";
import { promisify } from "node:util";
import { reason } from "#/lib/errors.ts";
import { shown } from "#/lib/text.ts";
import { BuildError } from "../errors.ts";
import { pathOnly } from "./files.ts";
import { otherUsers } from "./others.ts";

const run = promisify(execFile);
const folderFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** How deep one descent goes: each level holds two descriptors. What is deeper is moved up first. */
const maxDepth = 24;
/** How many files are unlinked at once. */
const batchSize = 64;

/**
 * Makes what other users have put into a folder this process's user's, who can read it then.
 * @param path in a folder that no job can write
 */
export async function reclaimFolder(path: string): Promise<void> {
  const others = otherUsers();
  if (!others) return;
  // What stays as it is shows when it is read.
  await others.own(path).catch(() => {});
  // It follows no link.
  await run("chmod", ["-R", "u+rwX", "--", path]).catch(() => {});
}

/**
 * Removes a file, a link or a whole folder; nothing happens when it isn't there. What belongs to another user is reclaimed first.
 * @param path in a folder that no job can write
 * @throws BuildError REMOVE when something can't be removed; all else is
 */
export async function removeTree(path: string | Buffer): Promise<void> {
  try {
    await removeAll(path);
  } catch (error) {
    const others = otherUsers();
    if (!others || typeof path !== "string" || !["EACCES", "EPERM"].includes(codeOf(error))) throw error;
    // What stays as it is may be removed all the same.
    await others.own(path).catch(() => {});
    await removeAll(path);
  }
}

function codeOf(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ("syscall" in cause) return (cause as NodeJS.ErrnoException).code ?? "";
  }
  return "";
}

async function removeAll(path: string | Buffer): Promise<void> {
  try {
    const there = await lstat(path).catch(ignoreMissing);
    if (!there) return;
    if (!there.isDirectory()) return await unlink(path).catch(ignoreMissing);
    await emptyFolder(path);
    await rmdir(path).catch(ignoreMissing);
  } catch (error) {
    if (!(error instanceof BuildError)) throw failure(Buffer.from(path), error);
    throw new BuildError("REMOVE", `${error.message}; the rest is in ${shown(path.toString(), 300)}`, {
      cause: error,
    });
  }
}

/**
 * Removes everything in a folder.
 * @param path in a folder that no job can write
 * @param except names that stay
 * @throws BuildError REMOVE when something can't be removed; all else is
 * @internal
 */
export async function emptyFolder(path: string | Buffer, except: readonly string[] = []): Promise<void> {
  await using root = await openFolder(Buffer.from(path)).catch((error) => {
    throw failure(Buffer.from(path), error);
  });
  await new Removal(root, await mountOf(root)).run(except);
}

class Removal {
  readonly #root: FileHandle;
  readonly #mount: string;
  /** Folders from far below, in the root now, that are still to be removed. */
  readonly #moved: Buffer[] = [];
  #failure: BuildError | undefined;

  constructor(root: FileHandle, mount: string) {
    this.#root = root;
    this.#mount = mount;
  }

  async run(except: readonly string[]): Promise<void> {
    await this.#empty(
      this.#root,
      1,
      except.map((name) => Buffer.from(name)),
    );
    for (let name = this.#moved.pop(); name; name = this.#moved.pop()) {
      await this.#attempt(name, this.#removeFolder(this.#root, name, 1));
    }
    if (this.#failure) throw this.#failure;
  }

  async #empty(folder: FileHandle, depth: number, except: readonly Buffer[] = []): Promise<void> {
    let files: Promise<void>[] = [];
    const entries = await opendir(`/proc/self/fd/${folder.fd}`, { encoding: "buffer" as BufferEncoding });
    for await (const entry of entries) {
      const name = entry.name as unknown as Buffer;
      if (except.some((kept) => kept.equals(name))) continue;
      if (entry.isDirectory()) await this.#attempt(name, this.#removeFolder(folder, name, depth));
      else files.push(this.#attempt(name, unlink(inside(folder, name))));
      if (files.length < batchSize) continue;
      await Promise.all(files);
      files = [];
    }
    await Promise.all(files);
  }

  async #removeFolder(parent: FileHandle, name: Buffer, depth: number): Promise<void> {
    const path = inside(parent, name);
    {
      await using folder = await openFolder(path);
      if ((await mountOf(folder)) !== this.#mount)
        throw Object.assign(new Error("something is mounted there"), { code: "EXDEV" });
      if (depth >= maxDepth) {
        const moved = Buffer.from(`.old-${randomUUID()}`);
        await rename(path, inside(this.#root, moved));
        this.#moved.push(moved);
        return;
      }
      await this.#empty(folder, depth + 1);
    }
    await rmdir(path);
  }

  /** The first failure is kept; the rest is removed all the same. */
  async #attempt(name: Buffer, step: Promise<void>): Promise<void> {
    await step.catch(ignoreMissing).catch((error: unknown) => {
      this.#failure ??= failure(name, error);
    });
  }
}

/** Opens a folder, even one without rights for its owner, as in Go's module cache. */
async function openFolder(path: Buffer): Promise<FileHandle> {
  try {
    const folder = await open(path, folderFlags);
    const { mode } = await folder.stat();
    // What can't be changed here shows below.
    if ((mode & 0o700) !== 0o700) await folder.chmod(0o700).catch(() => {});
    return folder;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
    await using found = await open(path, pathOnly | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    await chmod(`/proc/self/fd/${found.fd}`, 0o700);
    return await open(`/proc/self/fd/${found.fd}`, constants.O_RDONLY | constants.O_DIRECTORY);
  }
}

/**
 * Opens a folder below another one, each step by the descriptor of the one above, so that nobody can lead it elsewhere meanwhile.
 * @param base in a folder that no job can write
 * @throws the file system's error
 */
export async function openBelow(base: string, names: readonly Buffer[]): Promise<FileHandle> {
  let folder = await openFolder(Buffer.from(base));
  for (const name of names) {
    await using above = folder;
    folder = await openFolder(inside(above, name));
  }
  return folder;
}

/** Which mount a folder is on: a bind mount from the same disk has the same device (proc_pid_fdinfo(5)). */
async function mountOf(folder: FileHandle): Promise<string> {
  const info = await readFile(`/proc/self/fdinfo/${folder.fd}`, "latin1");
  return /^mnt_id:\s*(\d+)/m.exec(info)?.[1] ?? "";
}

/** The path of something in an open folder: the kernel goes from the descriptor (proc_pid_fd(5)). */
export function inside(folder: FileHandle, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${folder.fd}/`), name]);
}

function failure(name: Buffer, cause: unknown): BuildError {
  return new BuildError("REMOVE", `${shown(name.toString(), 100)} can't be removed: ${reason(cause)}`, {
    cause,
  });
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
