/** Recognizes when the box itself, not the job, is the problem: a full disk, no file descriptors, no memory. */
import { accessSync, closeSync, constants, openSync, statfsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

const failures: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EROFS: "the file system is read-only",
  EIO: "the disk has an error",
  EMFILE: "the agent has no file descriptors left; raise its limit (LimitNOFILE=, ulimit -n)",
  ENFILE: "the system has no file descriptors left",
  ENOMEM: "there is no memory left",
};

/**
 * Whether an error is the box's fault.
 * @param error its errno name is in `code`, or in that of one of its causes
 * @returns a line with the system's message; undefined: it is another error
 */
export function boxFailure(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const code = "code" in cause && typeof cause.code === "string" ? cause.code : "";
    const words = failures[code];
    if (words) return `${words}: ${(error as Error).message.split("\n", 1)[0]}`;
  }
  return undefined;
}

/**
 * What a build needs at one time, and some more. (Node 26 never closes its ends of a child's pipes when the child gets no
 * descriptors.)
 */
const neededDescriptors = 24;

/** What a build with little output writes, in bytes. */
const trialSize = 1024 * 1024;

/**
 * Tries what every build needs first.
 * @param write whether to write to the disk, too, which wakes it up
 * @throws the system's error
 */
export async function tryFolder(folder: string, write: boolean): Promise<void> {
  accessSync(folder, constants.W_OK);
  tryDescriptors();
  if (!write) return;
  const file = join(folder, ".trial");
  try {
    await writeFile(file, Buffer.alloc(trialSize));
  } finally {
    await rm(file, { force: true });
  }
}

/** In one turn, which takes microseconds: nothing else goes short of descriptors meanwhile. */
function tryDescriptors(): void {
  const opened: number[] = [];
  try {
    while (opened.length < neededDescriptors) opened.push(openSync("/dev/null", "r"));
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}

// statfs(2) takes microseconds. By another thread, the looks of each second would wake an idle agent several times.

/** A file system that makes inodes as it needs them, such as btrfs, says that it has none at all. */
export async function freeInodes(path: string): Promise<{ free: number; total: number } | undefined> {
  const { ffree, files } = statfsSync(path);
  return files > 0 ? { free: ffree, total: files } : undefined;
}

/** Below so many free inodes (5 % of a small disk's), no build is taken: each file takes one, however small. */
export function minFreeInodes(total: number): number {
  return Math.min(10_000, Math.floor(total / 20));
}

/** Bytes that this process can still write on the path's file system; what is reserved for root doesn't count. */
export async function freeSpace(path: string): Promise<number> {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}
