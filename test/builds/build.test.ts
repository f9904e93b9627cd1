import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Build, type BuildState } from "#/builds/build.ts";
import { type Ending, readRecord } from "#/builds/record.ts";
import { lacksMount, smallDisk, testFolder } from "../support/folders.ts";
import { record } from "./build-parts.ts";

const passed: Ending = { kind: "passed", reason: "the job passed" };
const failed: Ending = { kind: "failed", reason: "exit code 7", exitCode: 7 };
const stopped: Ending = { kind: "stopped", reason: "stopped from afar" };
const timedOut: Ending = { kind: "timed-out", reason: "too long" };
const broken: Ending = { kind: "infrastructure", reason: "no room" };
const kindOf = ({ kind }: Ending) => kind.toUpperCase();

function newBuild(folder: string): { build: Build; phases: BuildState["phase"][] } {
  const build = new Build(join(folder, "unit-tests", "1"), record());
  const phases: BuildState["phase"][] = [build.state.phase];
  build.on("changed", () => {
    if (phases.at(-1) !== build.state.phase) phases.push(build.state.phase);
  });
  return { build, phases };
}

test("a build goes through its phases, and its record has the end", async () => {
  using folder = testFolder();
  const { build, phases } = newBuild(folder.path);
  assert.equal(build.title, "unit-tests#1");
  const console = await build.open(1000);
  assert.equal(await build.opened, console);
  assert.deepEqual(readdirSync(build.folder).sort(), [
    "artifacts",
    "build.json",
    "console.log",
    "console.times",
  ]);
  assert.deepEqual(readdirSync(join(folder.path, "unit-tests")), ["1"]);
  assert.equal((await readRecord(build.folder)).ended, undefined, "until it ends, a crash leaves it lost");
  build.enter("preparing");
  build.enter("running");
  await console.note("hello");
  build.collect(passed);
  let ended = 0;
  build.on("ended", () => ended++);
  assert.deepEqual(await build.end(passed, kindOf), passed);
  assert.deepEqual(phases, ["assigned", "preparing", "running", "collecting", "ended"]);
  assert.equal(ended, 1);
  assert.equal(console.closed, true);
  const kept = await readRecord(build.folder);
  assert.deepEqual(kept, build.record);
  assert.deepEqual(kept.ending, passed);
  assert.equal(kept.result, "PASSED");
  assert.deepEqual(kept.console, { bytes: 16, cut: 0 });
  assert.ok(kept.assigned < (kept.started ?? "") && (kept.started ?? "") <= (kept.ended ?? ""));
});

test("each step ends with the next one, and the last one with the build", async () => {
  using folder = testFolder();
  const { build } = newBuild(folder.path);
  await build.open(1000);
  for (const step of ["checkout", "run", "run", "collect"] as const) build.step(step);
  assert.equal(build.record.steps?.at(-1)?.took, undefined, "it lasts");
  await build.end(passed, kindOf);
  build.step("run");
  const { steps = [] } = await readRecord(build.folder);
  assert.deepEqual(
    steps.map(({ name, took }) => [name, typeof took]),
    [
      ["checkout", "number"],
      ["run", "number"],
      ["collect", "number"],
    ],
  );
});

for (const phase of ["assigned", "preparing", "running"] as const) {
  test(`a stop while ${phase} decides the end`, async () => {
    using folder = testFolder();
    const { build, phases } = newBuild(folder.path);
    if (phase !== "assigned") {
      await build.open(1000);
      build.enter(phase);
    }
    assert.equal(build.signal.aborted, false);
    assert.equal(build.stop(stopped), true);
    assert.equal(build.signal.aborted, true);
    assert.deepEqual(build.signal.reason, stopped);
    assert.equal(build.stop(timedOut), false, "the first stop counts");
    assert.equal(build.hurry.aborted, true);
    build.collect({ kind: "stopped", reason: "the job was stopped" });
    assert.equal(build.state.phase, "stopping");
    assert.deepEqual(await build.end(passed, kindOf), stopped);
    assert.deepEqual(phases.slice(-2), ["stopping", "ended"]);
    assert.deepEqual(build.record.ending, stopped);
    assert.equal(build.record.result, "STOPPED");
    assert.equal(build.stop(timedOut), false);
    assert.deepEqual(build.state, { phase: "ended", ending: stopped });
    if (phase !== "assigned") assert.deepEqual((await readRecord(build.folder)).ending, stopped);
  });
}

test("a stop while collecting only cuts that short: the work has decided", async () => {
  using folder = testFolder();
  const { build, phases } = newBuild(folder.path);
  await build.open(1000);
  build.enter("running");
  build.collect(failed);
  assert.equal(build.stop(stopped), true);
  assert.deepEqual([build.signal.aborted, build.hurry.aborted], [true, true]);
  assert.deepEqual(await build.end(failed, kindOf), failed);
  assert.deepEqual(phases.slice(-3), ["collecting", "stopping", "ended"]);
  assert.equal(build.record.result, "FAILED");
});

test("a stop that comes between the script's end and the collecting changes nothing", async () => {
  using folder = testFolder();
  const { build } = newBuild(folder.path);
  await build.open(1000);
  build.enter("running");
  build.stop(timedOut);
  build.collect(failed);
  assert.deepEqual(build.state, { phase: "stopping", ending: failed });
  assert.deepEqual(await build.end(failed, kindOf), failed);
});

test("nobody waits for a build that timed out, until somebody stops it", () => {
  const { build } = newBuild("/nowhere");
  build.enter("running");
  build.stop(timedOut);
  assert.deepEqual([build.signal.aborted, build.hurry.aborted], [true, false]);
  assert.equal(build.stop(stopped), false);
  assert.equal(build.hurry.aborted, true);
  assert.deepEqual(build.state, { phase: "stopping", ending: timedOut });
});

test("a record is written even if the job removed the build's folder", async () => {
  using folder = testFolder();
  const { build } = newBuild(folder.path);
  await build.open(1000);
  rmSync(build.folder, { recursive: true });
  assert.deepEqual(await build.end(passed, kindOf), passed);
  assert.deepEqual((await readRecord(build.folder)).ending, passed);
});

test("after the end nothing changes any more", async () => {
  using folder = testFolder();
  const { build, phases } = newBuild(folder.path);
  await build.open(1000);
  const [first, second] = await Promise.all([build.end(passed, kindOf), build.end(broken, kindOf)]);
  assert.deepEqual([first, second], [passed, passed]);
  build.enter("running");
  build.progress = 50;
  assert.equal(build.stop(stopped), false);
  assert.equal(build.signal.aborted, false);
  assert.deepEqual(phases, ["assigned", "ended"]);
  assert.deepEqual([build.progress, build.record.started], [0, undefined]);
  assert.deepEqual(await build.end(broken, kindOf), passed);
  assert.deepEqual((await readRecord(build.folder)).ending, passed);
});

test("the progress only grows, to 99 at most, and is a whole number", () => {
  const { build } = newBuild("/nowhere");
  const told: number[] = [];
  build.on("changed", () => told.push(build.progress));
  for (const percent of [0, -5, 0.9, 7.9, 7, 3, Number.NaN, 50, 1e300, 100, Number.POSITIVE_INFINITY]) {
    build.progress = percent;
  }
  assert.deepEqual(told, [7, 50, 99]);
});

test("an ending without a result leaves none in the record", async () => {
  using folder = testFolder();
  const { build } = newBuild(folder.path);
  await build.open(1000);
  await build.end(broken, () => undefined);
  assert.equal("result" in (await readRecord(build.folder)), false);
});

test("what a crash left of a build that never was is no hindrance", async () => {
  using folder = testFolder();
  const { build } = newBuild(folder.path);
  mkdirSync(join(folder.path, "unit-tests", ".new-1", "artifacts"), { recursive: true });
  writeFileSync(join(folder.path, "unit-tests", ".new-1", "build.json"), "{");
  await build.open(1000);
  assert.deepEqual(await readRecord(build.folder), record());
  await build.end(passed, kindOf);
});

test("what is in the place of a build's folder is kept beside it", async () => {
  using folder = testFolder();
  const { build } = newBuild(folder.path);
  mkdirSync(build.folder, { recursive: true });
  writeFileSync(join(build.folder, "build.json"), "another's");
  await build.open(1000);
  assert.deepEqual(await build.end(broken, kindOf), broken);
  assert.deepEqual((await readRecord(build.folder)).ending, broken);
  const [own, aside = "", ...more] = readdirSync(join(folder.path, "unit-tests")).sort();
  assert.deepEqual([own, more], ["1", []]);
  assert.match(aside, /^1\.damaged-/);
  assert.equal(readFileSync(join(folder.path, "unit-tests", aside, "build.json"), "utf8"), "another's");
});

test("a build that never was opened is told so at its end", async () => {
  const { build } = newBuild("/nowhere");
  const opened = build.opened;
  await build.end(broken, kindOf);
  assert.equal(await opened, undefined);
});

test("a full disk: no folder, no console, no record, but an end each time", {
  skip: lacksMount(),
}, async () => {
  using disk = smallDisk(64);
  const filler = join(disk.path, "filler");
  const fill = () => assert.throws(() => writeFileSync(filler, Buffer.alloc(100_000)), { code: "ENOSPC" });
  fill();
  const { build: unmade } = newBuild(disk.path);
  await assert.rejects(unmade.open(1000), { code: "ENOSPC" });
  assert.deepEqual(await unmade.end(broken, kindOf), broken);

  writeFileSync(filler, "");
  const { build } = newBuild(disk.path);
  const console = await build.open(1000);
  fill();
  await assert.rejects(console.note("hello"), { code: "ENOSPC" });
  let ended = 0;
  build.on("ended", () => ended++);
  await assert.rejects(build.end(broken, kindOf), { code: "ENOSPC" });
  assert.equal(ended, 1);
  assert.deepEqual(build.state, { phase: "ended", ending: broken });
  assert.equal(
    (await readRecord(build.folder)).ended,
    undefined,
    "the old record is whole, and the build will be lost",
  );
});

test("a build whose console can't be opened has its end on disk all the same", async () => {
  using folder = testFolder();
  const { build } = newBuild(folder.path);
  mkdirSync(join(folder.path, "unit-tests", ".new-1", "console.log"), { recursive: true });
  await assert.rejects(build.open(1000), { code: "EISDIR" });
  assert.equal(await build.opened, undefined);
  await build.end(broken, kindOf);
  assert.deepEqual((await readRecord(build.folder)).ending, broken);
});
