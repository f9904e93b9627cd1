/** Errors of the system that mean that the box itself can't go on, as people understand them. */
import { access, constants, type FileHandle, open, rm, statfs } from "node:fs/promises";
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
 * What of it is the box's trouble, and not that of what was tried.
 * @param error or one that it causes, by the errno name in `code`
 * @returns one line with the system's own words; undefined when it is anything else
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
 * As many descriptors as a build needs at most at one time, and some more. (Node 26 never closes its ends of a child's pipes
 * when there are none left for the child itself.)
 */
const descriptors = 24;

/** What a build of few words writes, in bytes. */
const trialSize = 1024 * 1024;

/**
 * Tries what a build needs first of all.
 * @param write whether to write something, too; a disk that sleeps is left asleep otherwise
 * @throws the system's error
 */
export async function tryFolder(folder: string, write: boolean): Promise<void> {
  await access(folder, constants.W_OK);
  await using opened = new AsyncDisposableStack();
  for (let count = 0; count < descriptors; count++) opened.use(await open("/dev/null"));
  if (!write) return;
  const file = join(folder, ".trial");
  try {
    const trial: FileHandle = await open(file, "w");
    opened.use(trial);
    await trial.writeFile(Buffer.alloc(trialSize));
  } finally {
    await rm(file, { force: true });
  }
}

/** Bytes that this process may still write where the path is; what is reserved for root doesn't count. */
export async function freeSpace(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}
