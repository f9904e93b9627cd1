/** Replaces a file as a whole: who reads it, even after a crash, finds the old content or the new, never a part. */
import { randomUUID } from "node:crypto";
import { open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * Writes a file beside, syncs it, renames it over the old one, and syncs the rename. A crash on the way may leave
 * `NAME.new-UUID` beside the file: see removeHalfWritten().
 * @throws the file system's error, ENOSPC, EDQUOT and EFBIG too; the old content is then still there
 */
export async function replaceFile(path: string, content: string): Promise<void> {
  const fresh = `${path}.new-${randomUUID()}`;
  try {
    await writeSynced(fresh, content);
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
  await using folder = await open(dirname(path), "r");
  await folder.sync();
}

/**
 * Removes what crashes left beside a file when they came on the way of replaceFile().
 * @throws the file system's error
 */
export async function removeHalfWritten(path: string): Promise<void> {
  const start = `${basename(path)}.new-`;
  for (const name of await readdir(dirname(path))) {
    if (name.startsWith(start)) await rm(join(dirname(path), name), { force: true });
  }
}

async function writeSynced(path: string, content: string): Promise<void> {
  await using file = await open(path, "wx", 0o644);
  // It goes on where a write was cut short, so that what doesn't fit is an error and not a shorter file.
  await file.writeFile(content);
  await file.sync();
}
