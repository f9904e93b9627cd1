/**
 * The index of the finished builds, `STATE/builds.index`: what is kept of each in memory, so that a start needn't read every
 * record. The records stay the truth: an entry counts only while its record is the file that it was made of.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  type Stats,
  unlinkSync,
} from "node:fs";
import { reason } from "#/lib/errors.ts";
import { removeHalfWritten, replaceFile } from "#/lib/replace-file.ts";
import { type BuildSummary, recordFile } from "./record.ts";

/** Tells a record from what it becomes by any change; nobody can set a change time back (inode(7)). */
export interface Stamp {
  readonly inode: number;
  readonly size: number;
  /** Unix time in milliseconds, with a fraction. */
  readonly changed: number;
}

export interface IndexEntry {
  readonly stamp: Stamp;
  readonly summary: BuildSummary;
}

/** To be raised with each change of BuildSummary or of what it is made of. */
const version = 1;

/** A change so soon after another can have the same time, as the kernel's clock ticks (git's "racy" entries). */
const racyMs = 1000;

/** In bytes; a longer one isn't ours. */
const maxSize = 1024 ** 3;

export function stampOf({ ino, size, ctimeMs }: Stats): Stamp {
  return { inode: ino, size, changed: ctimeMs };
}

/** @returns undefined when the folder has no record that can be read */
export function stampOfRecord(folder: string): Stamp | undefined {
  try {
    const stat = lstatSync(recordFile(folder), { throwIfNoEntry: false });
    return stat?.isFile() ? stampOf(stat) : undefined;
  } catch {
    return undefined;
  }
}

export function isSameStamp(a: Stamp, b: Stamp): boolean {
  return a.inode === b.inode && a.size === b.size && a.changed === b.changed;
}

/**
 * @returns the entries by `JOB#NUMBER`; none when there is no index, or one of another version
 * @throws the file system's error, or SyntaxError for a damaged one
 */
export function readIndex(file: string): Map<string, IndexEntry> {
  const bytes = readWhole(file);
  if (!bytes) return new Map();
  const end = bytes.indexOf("\n") + 1;
  const header = bytes.toString("utf8", 0, end);
  const body = bytes.subarray(end);
  if (header !== headerOf(body)) {
    if (header.startsWith(`${title} `) && !header.startsWith(`${title} ${version} `)) return new Map();
    throw new SyntaxError("its checksum is wrong");
  }
  const entries: IndexEntry[] = JSON.parse(body.toString("utf8"));
  return new Map(entries.map((entry) => [`${entry.summary.job}#${entry.summary.number}`, entry]));
}

/**
 * @param now Unix time in milliseconds
 * @throws the file system's error
 */
export async function writeIndex(file: string, entries: readonly IndexEntry[], now: number): Promise<void> {
  const body = JSON.stringify(entries.filter(({ stamp }) => stamp.changed < now - racyMs));
  await replaceFile(file, headerOf(Buffer.from(body)) + body);
}

/** Every record is read at the next start; what can't be removed is none. */
export function removeIndex(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // There is none, or a build that runs as the agent's user has put a folder there.
  }
}

const title = "labgear builds";

function headerOf(body: Buffer): string {
  return `${title} ${version} ${createHash("sha256").update(body).digest("hex")}\n`;
}

/** @returns undefined when there is no file */
function readWhole(file: string): Buffer | undefined {
  let descriptor: number;
  try {
    removeHalfWritten(file);
    // O_NONBLOCK, since a job that runs as the agent's user may have put a pipe in its place.
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (error) {
    if (reason(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile() || stat.size > maxSize)
      throw new SyntaxError("it is not a regular file of this program");
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
