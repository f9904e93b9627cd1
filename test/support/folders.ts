/** Folders for tests: in the temporary directory, and on a disk so small that it is soon full. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  mkdtempSync,
  openSync,
  realpathSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TestFolder extends Disposable {
  readonly path: string;
}

/** An empty folder, removed in the end with all that is in it. */
export function testFolder(): TestFolder {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "labgear-test-")));
  return {
    path,
    [Symbol.dispose]() {
      chmodSync(path, 0o700);
      rmSync(path, { recursive: true, force: true });
    },
  };
}

/** A folder on a disk of its own with so many KiB; only root can mount it. */
export function smallDisk(kibibytes: number): TestFolder {
  const folder = testFolder();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${kibibytes}k`, "labgear-test", folder.path]);
  } catch (error) {
    folder[Symbol.dispose]();
    throw error;
  }
  return {
    path: folder.path,
    [Symbol.dispose]() {
      // Lazily, as a test that failed may have files open there.
      execFileSync("umount", ["-l", folder.path]);
      folder[Symbol.dispose]();
    },
  };
}

/** For a test's `skip` option: false where a disk can be mounted, else the reason. */
export function lacksMount(): string | false {
  try {
    smallDisk(64)[Symbol.dispose]();
    return false;
  } catch (error) {
    return `NOT TESTED HERE: no small disk can be mounted: ${(error as Error).message.trim()}`;
  }
}

/** Fills the disk but for so many bytes. The agent may remove something meanwhile, whose space stays free then, unless all is to be full. */
export function fillDisk(disk: string, leave = 0): void {
  const filler = join(disk, "filler");
  if (leave > 0) {
    const { bavail, bsize } = statfsSync(disk);
    const { size = 0 } = statSync(filler, { throwIfNoEntry: false }) ?? {};
    execFileSync("fallocate", ["-l", `${size + bavail * bsize - leave}`, filler]);
    return;
  }
  const page = Buffer.alloc(4096);
  const file = openSync(filler, "w");
  try {
    while (writeSync(file, page) === page.length);
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
  } finally {
    closeSync(file);
  }
}

/** Gives back what fillDisk() took. */
export const freeDisk = (disk: string) => rmSync(join(disk, "filler"), { force: true });
