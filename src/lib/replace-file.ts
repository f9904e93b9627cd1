/** Replaces a file as a whole: a reader, even after a crash, finds the old content or the new, never a part. */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  fsync,
  fsyncSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";

const sync = promisify(fsync);

/**
 * Writes a new file beside the old one, syncs it, renames it over the old one, and syncs the rename. A crash in between may leave
 * `NAME.new-UUID` beside the file: see removeHalfWritten().
 * @throws the file system's error, also ENOSPC, EDQUOT and EFBIG; the old content is then still there
 */
export async function replaceFile(path: string, content: string): Promise<void> {
  const fresh = freshName(path);
  try {
    await writeSynced(fresh, content);
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
  await synced(dirname(path));
}

/** The same without giving way to anything else, for what has to be on the disk before a function returns. */
export function replaceFileSync(path: string, content: string, mode: number): void {
  const fresh = freshName(path);
  try {
    // Like writeSynced(): what doesn't fit is an error, and not a shorter file.
    writeFileSync(fresh, content, { flag: "wx", mode, flush: true });
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
  const folder = openSync(dirname(path), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/**
 * Removes what a crash during replaceFile() has left beside a file.
 * @throws the file system's error
 */
export function removeHalfWritten(path: string): void {
  const start = `${basename(path)}.new-`;
  for (const name of readdirSync(dirname(path))) {
    if (name.startsWith(start)) rmSync(join(dirname(path), name), { force: true });
  }
}

const freshName = (path: string): string => `${path}.new-${randomUUID()}`;

/** In characters; a write of so much isn't worth a trip to another thread. */
const maxShort = 64 * 1024;

/**
 * Writes a new file and syncs it.
 * @throws the file system's error
 */
export async function writeSynced(path: string, content: string): Promise<void> {
  const options = { flag: "wx", mode: 0o644 } as const;
  // Both go on where a write was cut short, so that what doesn't fit is an error and not a shorter file.
  if (content.length > maxShort) await writeFile(path, content, options);
  else writeFileSync(path, content, options);
  await synced(path);
}

async function synced(path: string): Promise<void> {
  const descriptor = openSync(path, "r");
  try {
    await sync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
