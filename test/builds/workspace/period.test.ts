import assert from "node:assert/strict";
import { lstatSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { beginPeriod, isOwnFile, periodOf } from "#/builds/workspace/period.ts";
import { testFolder } from "../../support/folders.ts";

const second = 1_000_000_000n;
const hour = 3600n * second;
const noon = 12n * hour;
const isOwn = (period: Parameters<typeof isOwnFile>[0], ctimeNs: bigint) => isOwnFile(period, { ctimeNs });

test("what changed while the build ran is its own", () => {
  const period = periodOf(noon, noon + hour, hour);
  assert.equal(isOwn(period, noon - 1n), false);
  assert.equal(isOwn(period, noon), true);
  assert.equal(isOwn(period, noon + hour), true);
  assert.equal(isOwn(period, noon + 2n * hour), false, "from a time when the clock was ahead");
});

test("a clock that is set forward while the build runs makes none of its files old", () => {
  const period = periodOf(noon, noon + 25n * hour, hour);
  for (const at of [noon, noon + hour / 2n, noon + 25n * hour]) assert.equal(isOwn(period, at), true);
  assert.equal(isOwn(period, noon - 1n), false);
});

test("a clock that is set back while the build runs makes none of its files old", () => {
  const period = periodOf(noon, noon - 2n * hour, hour);
  for (const at of [noon, noon + hour / 2n, noon - (5n * hour) / 2n, noon - 2n * hour])
    assert.equal(isOwn(period, at), true);
  assert.equal(isOwn(period, noon - 4n * hour), false);
});

test("clocks that drift apart, and a file system with whole seconds, do no harm", () => {
  for (const now of [noon + hour - second / 2n, noon + hour + second / 2n]) {
    const period = periodOf(noon, now, hour);
    assert.equal(isOwn(period, noon), true);
    assert.equal(isOwn(period, now), true);
  }
});

test("the file system's own clock counts, and a set time of a file doesn't", async () => {
  using folder = testFolder();
  const [old, fresh] = [join(folder.path, "old"), join(folder.path, "fresh")];
  writeFileSync(old, "");
  // Until its clock has gone on.
  const before = lstatSync(old, { bigint: true }).ctimeNs;
  do writeFileSync(fresh, "");
  while (lstatSync(fresh, { bigint: true }).ctimeNs === before);
  const end = await beginPeriod(folder.path);
  writeFileSync(fresh, "");
  utimesSync(fresh, 1, 1);
  const period = await end();
  assert.equal(isOwnFile(period, lstatSync(old, { bigint: true })), false);
  assert.equal(isOwnFile(period, lstatSync(fresh, { bigint: true })), true);
});
