import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { diskUsage } from "#/builds/workspace/disk-usage.ts";
import { lacksMount, smallDisk, testFolder } from "../../support/folders.ts";
import { scale } from "../../support/scale.ts";

test("what is below a folder counts, and nothing counts for one that isn't there", async () => {
  using folder = testFolder();
  mkdirSync(join(folder.path, "a/b"), { recursive: true });
  writeFileSync(join(folder.path, "a/b/large"), Buffer.alloc(1_000_000));
  writeFileSync(join(folder.path, "small"), "1");
  const { bytes, inodes } = await diskUsage(folder.path);
  assert.equal(inodes, 4);
  assert.ok(bytes >= 1_000_000 && bytes < 1_100_000, `${bytes} bytes`);
  assert.deepEqual(await diskUsage(join(folder.path, "gone")), { bytes: 0, inodes: 0 });
});

test(`a large file counts behind more than ${scale("50,000", "500,000")} others`, {
  skip: lacksMount(),
}, async () => {
  using disk = smallDisk(64 * 1024);
  const [files, shown, mounted] = [4000, scale(13, 130), [] as string[]];
  mkdirSync(join(disk.path, "files"));
  for (let n = 0; n < files; n++) writeFileSync(join(disk.path, "files", String(n)), "");
  try {
    // The same files in many places: to make so many would take minutes.
    for (let n = 0; n < shown; n++) {
      const place = join(disk.path, String(n));
      mkdirSync(place);
      execFileSync("mount", ["--bind", join(disk.path, "files"), place]);
      mounted.push(place);
    }
    mkdirSync(join(disk.path, "z/last"), { recursive: true });
    writeFileSync(join(disk.path, "z/last/large"), Buffer.alloc(10_000_000));
    const { bytes } = await diskUsage(disk.path);
    assert.ok(bytes >= 10_000_000, `${bytes} bytes`);
  } finally {
    for (const place of mounted) execFileSync("umount", [place]);
  }
});

test("the signal ends the count, with what was found until then", async () => {
  using folder = testFolder();
  writeFileSync(join(folder.path, "large"), Buffer.alloc(1_000_000));
  assert.deepEqual(await diskUsage(folder.path, AbortSignal.abort()), { bytes: 0, inodes: 0 });
});

test("what is mounted from another disk doesn't count", { skip: lacksMount() }, async () => {
  using disk = smallDisk(4096);
  mkdirSync(join(disk.path, "other"));
  using other = smallDisk(4096);
  writeFileSync(join(other.path, "large"), Buffer.alloc(2_000_000));
  execFileSync("mount", ["--bind", other.path, join(disk.path, "other")]);
  try {
    assert.ok((await diskUsage(disk.path)).bytes < 1_000_000);
  } finally {
    execFileSync("umount", [join(disk.path, "other")]);
  }
});
