/** Files of a workspace that go to a board or come from one, read and written piece by piece. */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { dirname, relative } from "node:path";
import { makeFolders, openInside, secureJoin } from "./workspace.ts";

/** A file that is read in pieces, anywhere. */
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
   * @returns the file, or one line that says why it can't be read
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

/** A file that grows, and whose beginning can be read again. */
export class SinkFile implements Disposable {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Makes the file and the folders above it; what is there is emptied, and a link is refused, never followed.
   * @returns the file, or one line that says why it can't be written
   */
  static async open(workspace: string, path: string): Promise<SinkFile | string> {
    const full = secureJoin(workspace, path);
    if (full === undefined) return `${path} can't be written: its name is odd or leads out of the workspace`;
    try {
      const folder = relative(workspace, dirname(full));
      if (folder !== "") await makeFolders(workspace, folder.split("/"));
      const { O_RDWR, O_CREAT, O_TRUNC, O_NOFOLLOW, O_NONBLOCK } = constants;
      const fd = openSync(full, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK, 0o644);
      if (fstatSync(fd).isFile()) return new SinkFile(fd);
      closeSync(fd);
      return `${path} can't be written: it is no regular file`;
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
