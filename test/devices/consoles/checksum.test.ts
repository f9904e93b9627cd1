/** Checksums come out as the programs print them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { checksum, checksumPrograms, newChecksum } from "#/devices/consoles/linux/checksum.ts";
import { seeded, seededBytes } from "../../support/random.ts";

test("checksums are those of the system's programs", () => {
  const random = seeded(3);
  for (const length of [0, 1, 255, 256, 70_000]) {
    const bytes = seededBytes(random, length);
    for (const program of checksumPrograms) {
      const [expected] = spawnSync(program, { input: bytes, encoding: "utf8" }).stdout.split(" ");
      assert.equal(checksum(program, bytes), expected, `${program} of ${length} bytes`);
      const sum = newChecksum(program);
      for (let from = 0; from < length; from += 999) sum.update(bytes.subarray(from, from + 999));
      assert.equal(sum.digest(), expected);
    }
  }
});
