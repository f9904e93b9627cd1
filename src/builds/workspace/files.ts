/** Safe access to the files below a folder in which a job could have left anything. */
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readlinkSync,
  readSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { type FileHandle, lstat, open, readlink, realpath } from "node:fs/promises";
import { dirname, isAbsolute, join, relative, sep } from "node:path";

/** open(2): a handle without any right to what it names. Node has no constant for it. */
export const pathOnly = 0o10000000;

/** Whether a name is one part of a path and can be printed on one line. */
export function isName(name: string): boolean {
  if (/[/\p{Cc}\u2028\u2029]/u.test(name)) return false;
  return name !== "" && name !== "." && name !== ".." && Buffer.byteLength(name) <= 255;
}

/**
 * The path of something below a folder, without looking at the disk.
 * @param relative an untrusted path, with "/" between names
 * @returns undefined when it is absolute, leads out, or isName() doesn't hold for a part
 */
export function secureJoin(base: string, relative: string): string | undefined {
  if (isAbsolute(relative) || relative.length > 4096) return undefined;
  return relative.split("/").every(isName) ? join(base, relative) : undefined;
}

/**
 * Opens a regular file below a folder for reading. Links are followed if they end inside the folder. Devices, FIFOs and sockets
 * are never opened, since opening them can have effects.
 * @param base the folder's real path
 * @param relative an untrusted path
 * @returns the open file, or the reason why not, in a line
 */
export async function openInside(base: string, relative: string): Promise<FileHandle | string> {
  const path = secureJoin(base, relative);
  if (path === undefined) return "its name is invalid or leads out of the folder";
  let file: FileHandle | undefined;
  try {
    const real = await realpath(path);
    if (!isInside(base, real)) return "it is a link that leads out of the folder";
    if (!(await lstat(real)).isFile()) return "it is not a regular file";
    file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    // Between the check and the opening, a folder on the way may have become a link.
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
 * Opens a file of a build's folder, see openInside(): a job may have put a link or a pipe in its place.
 * @param folder it may be gone
 * @param within a folder below it that links must not lead out of
 * @returns undefined: there is no such file
 */
export async function openStored(
  folder: string,
  path: string,
  within = ".",
): Promise<FileHandle | undefined> {
  const base = await realpath(folder).catch(() => undefined);
  const file = base === undefined ? undefined : await openInside(join(base, within), path);
  return typeof file === "string" ? undefined : file;
}

function isInside(base: string, path: string): boolean {
  return path.startsWith(base.endsWith(sep) ? base : base + sep);
}

/**
 * Creates the missing folders of a path. Anything else in the way is removed; a symbolic link isn't followed: each step goes by
 * the descriptor of the folder above.
 * @param base a folder's real path, trusted
 * @param parts names for which isName() holds
 * @returns the last folder's real path
 */
export function makeFolders(base: string, parts: readonly string[]): string {
  const path = join(base, ...parts);
  let folder = openFolder(base);
  try {
    for (const part of parts) {
      const below = openOrMake(`/proc/self/fd/${folder}/${part}`);
      closeSync(folder);
      folder = below;
    }
    if (readlinkSync(`/proc/self/fd/${folder}`) === path) return path;
    throw new Error(`${path} was replaced by a link while it was made`);
  } finally {
    closeSync(folder);
  }
}

function openOrMake(path: string): number {
  try {
    return openFolder(path);
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["ENOENT", "ENOTDIR", "ELOOP"].includes(code)) throw error;
    // Another executor's build may make it at the same time.
    if (code !== "ENOENT") unless(["ENOENT", "EISDIR"], () => unlinkSync(path));
    unless(["EEXIST"], () => mkdirSync(path, { mode: 0o755 }));
    return openFolder(path);
  }
}

/** Opens a folder, even one without rights for its owner. */
function openFolder(path: string): number {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
  const open = () => openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  let folder: number;
  try {
    folder = open();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
    const found = openSync(path, pathOnly | O_DIRECTORY | O_NOFOLLOW);
    try {
      chmodSync(`/proc/self/fd/${found}`, 0o700);
      return openSync(`/proc/self/fd/${found}`, O_RDONLY | O_DIRECTORY);
    } finally {
      closeSync(found);
    }
  }
  if ((fstatSync(folder).mode & 0o700) === 0o700) return folder;
  try {
    fchmodSync(folder, 0o700);
  } catch {
    // Shows when it is used.
  }
  return folder;
}

function unless(codes: readonly string[], act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!codes.includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}

/** A file of the workspace that goes to a board: pieces of it are read in any order. */
export class SourceFile implements AsyncDisposable {
  /** Bytes. */
  readonly size: number;
  readonly #fd: number;
  readonly #close: () => Promise<void>;

  private constructor(fd: number, size: number, close: () => Promise<void>) {
    this.#fd = fd;
    this.size = size;
    this.#close = close;
  }

  /**
   * @param workspace its real path
   * @param path relative to it
   * @returns the file, or the reason why it can't be read, in a line
   */
  static async open(workspace: string, path: string): Promise<SourceFile | string> {
    const file = await openInside(workspace, path);
    if (typeof file === "string") return `${path} can't be read from the workspace: ${file}`;
    const { size } = await file.stat();
    return new SourceFile(file.fd, size, () => file.close());
  }

  /** The bytes from `offset`; fewer than `length` only at the end. */
  read(offset: number, length: number): Uint8Array {
    return readAt(this.#fd, offset, Math.min(length, Math.max(0, this.size - offset)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#close();
  }
}

/** A file that comes from a board: it grows, and any part of it can be read again. */
export class SinkFile implements Disposable {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Creates the file and the folders above it; an existing file is emptied, and a link refused.
   * @returns the file, or the reason why it can't be written, in a line
   */
  static async open(workspace: string, path: string): Promise<SinkFile | string> {
    const full = secureJoin(workspace, path);
    if (full === undefined)
      return `${path} can't be written: its name is invalid or leads out of the workspace`;
    try {
      const folder = relative(workspace, dirname(full));
      if (folder !== "") makeFolders(workspace, folder.split("/"));
      const { O_RDWR, O_CREAT, O_TRUNC, O_NOFOLLOW, O_NONBLOCK } = constants;
      const fd = openSync(full, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK, 0o644);
      if (fstatSync(fd).isFile()) {
        // The unit's umask keeps it from the job's own user; it may be that user's already.
        unless(["EPERM"], () => fchmodSync(fd, 0o644));
        return new SinkFile(fd);
      }
      closeSync(fd);
      return `${path} can't be written: it is not a regular file`;
    } catch (error) {
      return `${path} can't be written: ${(error as NodeJS.ErrnoException).code ?? String(error)}`;
    }
  }

  get size(): number {
    return fstatSync(this.#fd).size;
  }

  read(offset: number, length: number): Uint8Array {
    return readAt(this.#fd, offset, Math.min(length, Math.max(0, this.size - offset)));
  }

  /** @throws the file system's error, ENOSPC first of all */
  append(bytes: Uint8Array): void {
    let at = this.size;
    for (let done = 0; done < bytes.length; ) {
      const written = writeSync(this.#fd, bytes, done, bytes.length - done, at);
      done += written;
      at += written;
    }
  }

  truncate(size: number): void {
    ftruncateSync(this.#fd, size);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

function readAt(fd: number, offset: number, length: number): Uint8Array {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const read = readSync(fd, bytes, done, length - done, offset + done);
    if (read === 0) break;
    done += read;
  }
  return bytes.subarray(0, done);
}
