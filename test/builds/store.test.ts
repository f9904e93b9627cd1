import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Build } from "#/builds/build.ts";
import { BuildError } from "#/builds/errors.ts";
import { type BuildRecord, type Ending, readRecord, recordFile } from "#/builds/record.ts";
import { BuildStore } from "#/builds/store.ts";
import { lacksMount, smallDisk, testFolder } from "../support/folders.ts";
import { facts, record } from "./build-parts.ts";

const passed: Ending = { kind: "passed", reason: "the job passed" };
const noResult = () => undefined;

/** Opens the builds in a folder; numbers are counted from the floor, as if the agent had forgotten all. */
async function open(folder: string) {
  const given = new Map<string, number>();
  return BuildStore.open({
    folder,
    nextNumber: (job, floor) => {
      const next = 1 + Math.max(floor, given.get(job) ?? 0);
      given.set(job, next);
      return next;
    },
    url: (job, number) => `http://rack7/${job}/${number}`,
  });
}

/** Puts a build on disk as an agent before this one would have. */
function put(folder: string, more: Partial<BuildRecord> & { number: number }): string {
  const assigned = new Date(Date.UTC(2026, 0, 1) + more.number * 60_000).toISOString();
  const ended = new Date(Date.parse(assigned) + 1000).toISOString();
  const whole = record({ uuid: `u${more.number}`, assigned, ended, ending: passed, ...more });
  const path = join(folder, whole.job, String(whole.number));
  mkdirSync(join(path, "artifacts"), { recursive: true });
  writeFileSync(recordFile(path), JSON.stringify(whole));
  return path;
}

/** Runs a build of nothing to its end. */
async function finish(build: Build, ending = passed): Promise<void> {
  await build.open(1000);
  build.enter("running");
  await build.console?.note("hello");
  await build.end(ending, noResult);
}

test("a build is running until its record is on disk, then finished, also after a restart", async () => {
  using folder = testFolder();
  const { store } = await open(folder.path);
  const created: string[] = [];
  store.on("created", (build) => created.push(build.title));
  const build = store.create({ ...facts, target: "x86-64" });
  assert.deepEqual(created, ["unit-tests#1"]);
  assert.equal(build.record.url, "http://rack7/unit-tests/1");
  assert.equal(existsSync(build.folder), false);
  assert.equal(store.findRunning({ job: "unit-tests", number: 1 }), build);
  assert.equal(store.findRunning({ uuid: "0af2" }), build);
  assert.deepEqual(store.finished(), []);
  const onDisk: (string | undefined)[] = [];
  store.on("ended", ({ folder }) =>
    onDisk.push(JSON.parse(readFileSync(recordFile(folder), "utf8")).ending?.kind),
  );
  await finish(build);
  assert.deepEqual(onDisk, ["passed"]);
  assert.deepEqual(store.running, []);
  assert.equal(store.findRunning({ uuid: "0af2" }), undefined);
  const summary = store.find({ uuid: "0af2" })?.summary;
  assert.deepEqual(store.finished(), [summary]);
  const again = await open(folder.path);
  assert.deepEqual([again.lost, again.warnings], [[], []]);
  assert.deepEqual(again.store.finished(), [summary]);
  assert.deepEqual(again.store.find({ job: "unit-tests", number: 1 })?.summary, summary);
});

test("a build is running while its end is written, whoever describes it meanwhile", async () => {
  using folder = testFolder();
  const { store } = await open(folder.path);
  const build = store.create(facts);
  await build.open(1000);
  let ended = 0;
  store.on("ended", () => ended++);
  const ending = build.end(passed, noResult);
  const described = store.describe({ uuid: "0af2" }, "<b>last</b>");
  assert.equal(ended, 0);
  assert.equal(store.findRunning({ uuid: "0af2" }), build);
  await Promise.all([ending, described]);
  assert.equal(ended, 1);
  const { description, ending: kept } = await readRecord(build.folder);
  assert.deepEqual([description, kept], ["<b>last</b>", passed]);
});

test("a build without an end is lost, once", async () => {
  using folder = testFolder();
  const unfinished = record({ number: 3 });
  const path = put(folder.path, { number: 3 });
  writeFileSync(recordFile(path), JSON.stringify(unfinished));
  writeFileSync(join(path, "console.log"), "compiling");
  const { store, lost, warnings } = await open(folder.path);
  assert.deepEqual(warnings, []);
  assert.deepEqual(
    lost.map(({ number }) => number),
    [3],
  );
  assert.equal(store.find({ job: "unit-tests", number: 3 })?.summary.ending?.kind, "lost");
  assert.equal((await readRecord(path)).ending?.kind, "lost");
  assert.deepEqual((await open(folder.path)).lost, []);
  const console = readFileSync(join(path, "console.log"), "utf8");
  assert.equal(console, "compiling\n[labgear] the agent ended while the build ran\n");
});

test("a lost build that a full disk keeps from being recorded doesn't stop the start", {
  skip: lacksMount(),
}, async () => {
  using disk = smallDisk(64);
  const path = put(disk.path, { number: 1 });
  const unfinished = record({ number: 1 });
  writeFileSync(recordFile(path), JSON.stringify(unfinished));
  assert.throws(() => writeFileSync(join(disk.path, "filler"), Buffer.alloc(100_000)), { code: "ENOSPC" });
  const { store, lost, warnings } = await open(disk.path);
  assert.equal(lost.length, 1);
  assert.match(warnings.join(), /unit-tests\/1" is left alone: "ENOSPC/);
  assert.equal(store.find({ uuid: "0af2" })?.summary.ending?.kind, "lost");
});

test("damaged records are set aside and named, at each start the rest is there", async () => {
  using folder = testFolder();
  const damaged = [
    put(folder.path, { number: 1 }),
    put(folder.path, { number: 2 }),
    put(folder.path, { number: 9 }),
  ];
  put(folder.path, { number: 4 });
  writeFileSync(recordFile(damaged[0] ?? ""), "{");
  writeFileSync(recordFile(damaged[1] ?? ""), Buffer.from('{"\u001b[31m\nversion'));
  // The record of another build: by it, orders for that one would reach this folder.
  writeFileSync(
    recordFile(damaged[2] ?? ""),
    JSON.stringify(record({ job: "../../etc", number: 9, ended: record().assigned })),
  );
  const { store, warnings } = await open(folder.path);
  assert.deepEqual(
    store.finished().map(({ number }) => number),
    [4],
  );
  assert.equal(warnings.length, 3);
  for (const [index, path] of damaged.entries()) {
    const line = warnings.find((warning) => warning.includes(`"${recordFile(path)}" is damaged`)) ?? "";
    assert.match(line, /^[\x20-\x7e]+$/, `a line of its own for ${index}`);
    assert.deepEqual(readdirSync(path).sort(), ["artifacts", "build.json.damaged"]);
  }
  const again = await open(folder.path);
  assert.deepEqual(again.store.finished(), store.finished());
  assert.equal(again.warnings.filter((line) => line.includes("no such file")).length, 3);
});

test("numbers go on above every folder, readable or not, and above those running", async () => {
  using folder = testFolder();
  put(folder.path, { number: 4 });
  mkdirSync(join(folder.path, "unit-tests/12"));
  mkdirSync(join(folder.path, `unit-tests/${"9".repeat(16)}`));
  mkdirSync(join(folder.path, "unit-tests/0044"));
  const { store } = await open(folder.path);
  const first = store.create(facts);
  assert.equal(first.record.number, 13);
  await finish(first);
  assert.equal(store.create(facts).record.number, 14);
  assert.equal(store.create({ ...facts, job: "other" }).record.number, 1);
});

test("the highest number stays known when the builds are pruned", async () => {
  using folder = testFolder();
  put(folder.path, { number: 7 });
  const floors: number[] = [];
  const { store } = await BuildStore.open({
    folder: folder.path,
    nextNumber: (_, floor) => floors.push(floor) + floor,
    url: () => "",
  });
  await store.prune(0, 0);
  store.create(facts);
  assert.deepEqual(floors, [7]);
});

test("whatever lies in the builds' folder, the rest is read", async () => {
  using folder = testFolder();
  using elsewhere = testFolder();
  put(folder.path, { number: 1 });
  put(folder.path, { number: 2, job: "a job with spaces" });
  put(folder.path, { number: 3, job: "__proto__" });
  put(elsewhere.path, { number: 4, job: "linked" });
  symlinkSync(join(elsewhere.path, "linked"), join(folder.path, "linked"));
  writeFileSync(join(folder.path, "README"), "a file where jobs are");
  writeFileSync(join(folder.path, "unit-tests", "77"), "a file where builds are");
  writeFileSync(join(folder.path, "unit-tests", "notes.txt"), "");
  mkdirSync(join(folder.path, "unit-tests", "7"));
  mkdirSync(join(folder.path, "unit-tests", "-5"));
  symlinkSync("nowhere", join(folder.path, "dangling"));
  symlinkSync("loop", join(folder.path, "loop"));
  symlinkSync("8", join(folder.path, "unit-tests", "8"));
  mkdirSync(join(folder.path, "odd\nname", "1"), { recursive: true });
  execFileSync("mkfifo", [join(folder.path, "unit-tests", "78")]);
  mkdirSync(join(folder.path, "unit-tests", "79"));
  execFileSync("mkfifo", [recordFile(join(folder.path, "unit-tests", "79"))]);
  const { store, lost, warnings } = await open(folder.path);
  const found = store.finished().map(({ job, number }) => `${job}#${number}`);
  assert.deepEqual(found.sort(), ["__proto__#3", "a job with spaces#2", "linked#4", "unit-tests#1"]);
  assert.deepEqual(lost, []);
  const named = [
    "dangling",
    "loop",
    "odd\\nname/1",
    "unit-tests/7",
    "unit-tests/79/build.json",
    "unit-tests/8",
  ];
  assert.deepEqual(
    warnings.map((line) => line.split('"')[1]).sort(),
    named.map((name) => `${folder.path}/${name}`),
  );
  for (const line of warnings) assert.match(line, /^[\x20-\x7e]+$/);
});

test("what a crash left half made or half removed goes, and is never a build", async () => {
  using folder = testFolder();
  put(folder.path, { number: 1 });
  const half = put(folder.path, { number: 5 });
  for (const name of [".new-2", ".old-3"])
    execFileSync("cp", ["-r", half, join(folder.path, "unit-tests", name)]);
  rmSync(half, { recursive: true });
  using elsewhere = testFolder();
  writeFileSync(join(elsewhere.path, "kept"), "");
  symlinkSync(elsewhere.path, join(folder.path, "unit-tests", ".old-9"));
  const { store, warnings } = await open(folder.path);
  assert.deepEqual(warnings, []);
  assert.deepEqual(readdirSync(join(folder.path, "unit-tests")), ["1"]);
  assert.equal(store.finished().length, 1);
  assert.deepEqual(readdirSync(elsewhere.path), ["kept"]);
});

test("a file where the builds' folder should be makes way, with a warning", async () => {
  using folder = testFolder();
  writeFileSync(join(folder.path, "builds"), "");
  const { store, warnings } = await open(join(folder.path, "builds"));
  assert.match(
    warnings.join("\n"),
    /\/builds" was no folder and is now ".*\/builds\.damaged-.*"; a new one is made$/,
  );
  const build = store.create(facts);
  await build.open(1000);
  await build.end({ kind: "infrastructure", reason: "no room" }, noResult);
});

test("a builds' folder that can't be made is said", async () => {
  using folder = testFolder();
  writeFileSync(join(folder.path, "state"), "");
  await assert.rejects(open(join(folder.path, "state/builds")), (error) => {
    assert.ok(error instanceof BuildError);
    assert.equal(error.code, "STORE");
    assert.match(error.message, /^the builds' folder .*\/builds can't be used: E/);
    return true;
  });
});

test("of several runs under one uuid the last is meant, in whatever order they are read", async () => {
  using folder = testFolder();
  for (const number of [8, 9, 10, 11]) put(folder.path, { number, uuid: "again" });
  const { store } = await open(folder.path);
  assert.equal(store.find({ uuid: "again" })?.number, 11);
  assert.equal(store.find({ uuid: "other" })?.summary, undefined);
  const [first, second] = [
    store.create({ ...facts, uuid: "again" }),
    store.create({ ...facts, uuid: "again" }),
  ];
  assert.equal(store.findRunning({ uuid: "again" }), second);
  await finish(second);
  assert.equal(store.findRunning({ uuid: "again" }), first);
  assert.equal(await store.describe({ uuid: "again" }, "first"), true);
  assert.equal(first.record.description, "first");
  await finish(first);
  assert.equal(store.find({ uuid: "again" })?.number, second.record.number);
});

test("a job's builds are listed by number, though the clock jumped back", async () => {
  using folder = testFolder();
  put(folder.path, { number: 1, assigned: "2026-05-01T00:00:00.000Z" });
  put(folder.path, { number: 2, assigned: "1970-01-01T00:00:00.000Z" });
  put(folder.path, { number: 10, assigned: "2026-04-01T00:00:00.000Z" });
  put(folder.path, { number: 3, job: "other", assigned: "2026-04-02T00:00:00.000Z" });
  const { store } = await open(folder.path);
  assert.deepEqual(
    store.finished("unit-tests").map(({ number }) => number),
    [10, 2, 1],
  );
  assert.deepEqual(
    store.finished().map(({ number }) => number),
    [1, 3, 10, 2],
  );
  assert.deepEqual(store.finished("no such job"), []);
});

test("descriptions of running and finished builds are kept", async () => {
  using folder = testFolder();
  const { store } = await open(folder.path);
  const build = store.create(facts);
  // Before there is a folder it is only remembered.
  await store.describe({ job: "unit-tests", number: 1 }, "one");
  await build.open(1000);
  assert.equal((await readRecord(build.folder)).description, "one");
  await Promise.all(["two", "three", "four"].map((html) => store.describe({ uuid: "0af2" }, html)));
  assert.equal((await readRecord(build.folder)).description, "four");
  await build.end(passed, noResult);
  await store.describe({ uuid: "0af2" }, "five");
  const kept = await readRecord(build.folder);
  assert.deepEqual([kept.description, kept.ending], ["five", passed]);
  assert.equal(await store.describe({ uuid: "unknown" }, ""), false);
  await store.prune(0, 0);
  assert.equal(await store.describe({ uuid: "0af2" }, ""), false);
  assert.deepEqual(readdirSync(join(folder.path, "unit-tests")), []);
});

test("old builds are removed by number and by age, running ones never", async () => {
  using folder = testFolder();
  for (let number = 1; number <= 6; number++) put(folder.path, { number });
  put(folder.path, { number: 1, job: "rare" });
  const { store } = await open(folder.path);
  const running = store.create(facts);
  await running.open(1000);
  await store.prune(4, 0);
  assert.deepEqual(readdirSync(join(folder.path, "unit-tests")).sort(), ["3", "4", "5", "6", "7"]);
  assert.deepEqual(readdirSync(join(folder.path, "rare")), ["1"]);
  await store.prune(4, Date.parse(store.find({ job: "unit-tests", number: 5 })?.summary.ended ?? ""));
  assert.deepEqual(readdirSync(join(folder.path, "unit-tests")).sort(), ["5", "6", "7"]);
  assert.deepEqual(readdirSync(join(folder.path, "rare")), []);
  await store.prune(0, Number.POSITIVE_INFINITY);
  assert.deepEqual(readdirSync(join(folder.path, "unit-tests")), ["7"]);
  assert.equal(store.findRunning({ uuid: "0af2" }), running);
  await running.end(passed, noResult);
  assert.deepEqual((await open(folder.path)).store.finished(), store.finished());
});

test("rounds of removal at once, while builds end, leave the right ones", async () => {
  using folder = testFolder();
  const { store } = await open(folder.path);
  const rounds: Promise<void>[] = [];
  store.on("ended", () => rounds.push(store.prune(3, 0), store.prune(3, 0)));
  const builds = Array.from({ length: 30 }, () => store.create({ ...facts, uuid: randomUUID() }));
  await Promise.all(builds.map((build) => finish(build)));
  await Promise.all(rounds);
  await store.prune(3, 0);
  assert.deepEqual(
    store.finished().map(({ number }) => number),
    [30, 29, 28],
  );
  assert.deepEqual(readdirSync(join(folder.path, "unit-tests")).sort(), ["28", "29", "30"]);
});

test("what a job locked is removed, and what someone removed by hand is no error", async () => {
  using folder = testFolder();
  const locked = join(put(folder.path, { number: 1 }), "artifacts", "locked");
  mkdirSync(locked);
  writeFileSync(join(locked, "file"), "");
  chmodSync(locked, 0o500);
  const gone = put(folder.path, { number: 2 });
  put(folder.path, { number: 3 });
  const { store } = await open(folder.path);
  rmSync(gone, { recursive: true });
  await store.prune(0, 0);
  assert.deepEqual(readdirSync(join(folder.path, "unit-tests")), []);
  assert.deepEqual(store.finished(), []);
});

test("a build that can't be removed is named and stays, the others go", { skip: lacksMount() }, async () => {
  using folder = testFolder();
  for (const number of [1, 2, 3]) put(folder.path, { number });
  const { store } = await open(folder.path);
  const busy = join(folder.path, "unit-tests/2");
  // A mount point can be neither renamed nor removed, not even by root.
  execFileSync("mount", ["--bind", busy, busy]);
  try {
    await assert.rejects(store.prune(0, 0), (error) => {
      assert.ok(error instanceof BuildError);
      assert.equal(error.code, "PRUNE");
      assert.match(
        error.message,
        /^1 old builds can't be removed; the first failure is: EBUSY.*unit-tests\/2/,
      );
      return true;
    });
  } finally {
    execFileSync("umount", [busy]);
  }
  assert.deepEqual(readdirSync(join(folder.path, "unit-tests")), ["2"]);
  assert.deepEqual(
    store.finished().map(({ number }) => number),
    [2],
  );
  await store.prune(0, 0);
  assert.deepEqual(readdirSync(join(folder.path, "unit-tests")), []);
});

test("a leftover that can't be removed doesn't stop the start", { skip: lacksMount() }, async () => {
  using folder = testFolder();
  put(folder.path, { number: 1 });
  const busy = join(folder.path, "unit-tests", ".old-2");
  mkdirSync(busy);
  execFileSync("mount", ["--bind", busy, busy]);
  try {
    const { store, warnings } = await open(folder.path);
    assert.equal(store.finished().length, 1);
    assert.match(warnings.join(), /\.old-2" is left alone: .*EBUSY/);
  } finally {
    execFileSync("umount", [busy]);
  }
});

test("the estimate is the median of the last ten passed runs on the same labels", async () => {
  using folder = testFolder();
  const run = (number: number, seconds: number, more: Partial<BuildRecord> = {}) => {
    const started = new Date(Date.UTC(2026, 0, 1) + number * 3_600_000);
    const ended = new Date(started.getTime() + seconds * 1000);
    put(folder.path, { number, started: started.toISOString(), ended: ended.toISOString(), ...more });
  };
  // Longer ago than the last ten.
  for (let number = 1; number <= 5; number++) run(number, 5000);
  for (const [index, seconds] of [10, 90, 20, 80, 30, 70, 40].entries()) run(10 + index, seconds);
  for (const [index, seconds] of [50, 60, 50].entries()) run(20 + index, seconds);
  run(30, 1, { ending: { kind: "failed", reason: "" } });
  run(31, 1, { labels: ["arm64"] });
  run(32, 1, { job: "other" });
  // The clock was set back while it ran.
  run(33, -7200);
  const { store } = await open(folder.path);
  assert.equal(store.estimate("unit-tests", ["x86-64"]), 50_000);
  assert.equal(store.estimate("unit-tests", ["arm64"]), 1000);
  assert.equal(store.estimate("unit-tests", []), undefined);
  assert.equal(store.estimate("none", ["x86-64"]), undefined);
});

test("a build that never came to disk can be ended, and goes with the old ones", async () => {
  using folder = testFolder();
  const { store } = await open(join(folder.path, "state/builds"));
  rmSync(join(folder.path, "state"), { recursive: true });
  writeFileSync(join(folder.path, "state"), "a file in the way");
  const build = store.create(facts);
  await assert.rejects(build.open(1000), { code: "ENOTDIR" });
  const ended = once(store, "ended");
  await build.end({ kind: "infrastructure", reason: "no room" }, noResult);
  await ended;
  assert.equal(store.find({ uuid: "0af2" })?.summary.ending?.kind, "infrastructure");
  rmSync(join(folder.path, "state"));
  await store.prune(0, 0);
  assert.deepEqual(store.finished(), []);
});

test("5000 builds are read", async () => {
  using folder = testFolder();
  for (let number = 1; number <= 5000; number++) {
    put(folder.path, { number, job: `job-${number % 10}`, parameters: { TEXT: "x".repeat(2000) } });
  }
  const { store, warnings } = await open(folder.path);
  assert.deepEqual(warnings, []);
  assert.equal(store.finished().length, 5000);
  assert.equal(store.find({ uuid: "u4999" })?.job, "job-9");
  assert.equal(store.find({ uuid: "none" }), undefined);
});

test("an ending that couldn't be delivered is found by its uuid and request for a day, then the uuid means a new build", async () => {
  using folder = testFolder();
  const ended = (hours: number) => new Date(Date.now() - hours * 3_600_000).toISOString();
  put(folder.path, { number: 1, uuid: "late", request: "r", undelivered: true, ended: ended(25) });
  put(folder.path, { number: 2, uuid: "fresh", request: "r", undelivered: true, ended: ended(23) });
  put(folder.path, { number: 3, uuid: "told", request: "r", ended: ended(1) });
  const { store } = await open(folder.path);
  const found = (uuid: string, request = "r") => store.findUndelivered(uuid, request)?.number;
  assert.deepEqual([found("late"), found("fresh"), found("told")], [undefined, 2, undefined]);
  assert.equal(found("fresh", "another request"), undefined);
  await store.setDelivered(facts.job, 2);
  assert.equal(found("fresh"), undefined);
});

test("a clock that is set forward while the agent runs makes no kept ending old", async (t) => {
  using folder = testFolder();
  put(folder.path, {
    number: 1,
    uuid: "u",
    request: "r",
    undelivered: true,
    ended: new Date().toISOString(),
  });
  const { store } = await open(folder.path);
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 30 * 24 * 3_600_000 });
  assert.equal(store.findUndelivered("u", "r")?.number, 1);
});

test("a record that can't be saved keeps none of the others from it", async () => {
  using folder = testFolder();
  const { store } = await open(folder.path);
  const builds = [store.create(facts), store.create(facts), store.create(facts)];
  for (const build of builds) {
    await build.open(1000);
    renameSync(build.folder, `${build.folder}.away`);
    writeFileSync(build.folder, "in the way");
    await assert.rejects(build.end(passed, noResult), { code: "EEXIST" });
  }
  assert.equal(await store.saveRest(), 0);
  const restore = ({ folder }: { folder: string }) => {
    rmSync(folder);
    renameSync(`${folder}.away`, folder);
  };
  builds.slice(1).forEach(restore);
  assert.equal(await store.saveRest(), 2);
  for (const { folder } of builds.slice(1)) assert.deepEqual((await readRecord(folder)).ending, passed);
  builds.slice(0, 1).forEach(restore);
  assert.equal(await store.saveRest(), 1);
  assert.equal(await store.saveRest(), 0);
});
