/** A board's history: what counts as an outage, over restarts, from damaged files, and for a year. */
import assert from "node:assert/strict";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { BoardHistory, pruneHistories } from "#/devices/history.ts";
import type { DeviceState } from "#/devices/state.ts";
import { describeOutage, foldOutages } from "#/lib/board-history.ts";
import { testFolder } from "../support/folders.ts";

const minuteMs = 60_000;
const dayMs = 86_400_000;
const saturday = Date.parse("2026-11-28T14:02:00.000Z");

/** A history whose clock a test sets. */
function openHistory(folder: string, start = saturday) {
  const clock = { now: start };
  const faults: string[] = [];
  const open = () => new BoardHistory({ folder, now: () => clock.now, fault: (text) => faults.push(text) });
  return { clock, faults, open };
}

const refused: DeviceState = { kind: "recovering", reason: "login-refused: no", cause: "login-refused" };
const starting: DeviceState[] = [
  { kind: "absent", reason: "it wasn't looked for yet" },
  { kind: "opening", reason: "its port is being opened" },
  { kind: "proving", reason: "it is being probed" },
];

test("builds, resets and probes are no outage, and a restart of the agent isn't one", async () => {
  using folder = testFolder();
  const { open } = openHistory(folder.path);
  for (let start = 0; start < 3; start++) {
    const history = open();
    for (const state of starting) history.enter(state);
    history.enter({ kind: "ready" });
    history.enter({ kind: "busy", who: "smoke#1" });
    history.enter({ kind: "recovering", reason: "it is being reset after a build" });
    history.enter({ kind: "proving", reason: "it is being probed" });
    history.enter({ kind: "ready" });
    assert.equal(history.outage, undefined);
  }
  assert.deepEqual(await open().read(0), []);
});

test("since is since it takes no builds: ten restarts, retries and a quarantine later it still says Saturday", async () => {
  using folder = testFolder();
  const { clock, open, faults } = openHistory(folder.path);
  open().ended({ build: "smoke#7", ending: "infrastructure", cause: "login-refused" }, true);
  for (let restart = 0; restart < 10; restart++) {
    using history = open();
    for (const state of starting) history.enter(state);
    for (let tries = 0; tries < 20; tries++) {
      history.enter(refused);
      history.enter({ kind: "proving", reason: "it is being probed" });
      clock.now += 5 * minuteMs;
    }
  }
  let history = open();
  history.ended({ build: "smoke#8", ending: "infrastructure", cause: "login-refused" }, true);
  history.enter({ kind: "quarantined", reason: "3 infrastructure failures in a row" });
  history = open();
  for (const state of starting) history.enter(state);
  history.enter({ kind: "quarantined", reason: "3 infrastructure failures in a row" });
  const { outage } = history;
  assert.equal(outage?.since, "2026-11-28T14:02:00.000Z");
  assert.equal(outage.cause, "login-refused");
  assert.deepEqual(outage.builds, ["smoke#7", "smoke#8"]);
  assert.equal(outage.tries, 200);
  assert.match(
    describeOutage(outage),
    /^out of order since Sat.*200 tries, last: login-refused, after smoke#7 smoke#8$/,
  );
  history.enter({ kind: "proving", reason: "it is being probed" });
  history.enter({ kind: "ready" });
  assert.equal(history.outage, undefined);
  const events = await history.read(0);
  assert.ok(events.length < 60, `${events.length} lines for 200 tries`);
  const [folded, ...rest] = foldOutages(events);
  assert.deepEqual(rest, []);
  assert.equal(folded?.until, new Date(clock.now).toISOString());
  assert.deepEqual(folded.causes, ["login-refused"]);
  assert.deepEqual(faults, []);
});

test("who paused it stays known over a restart, and the outage ends with the probe", () => {
  using folder = testFolder();
  const { clock, open } = openHistory(folder.path);
  open().enter({ kind: "paused", reason: "new cable", by: "ada" });
  clock.now += dayMs;
  const history = open();
  for (const state of starting) history.enter(state);
  history.enter({ kind: "paused", reason: "new cable" });
  assert.equal(history.outage?.who, "ada");
  assert.equal(history.outage.since, "2026-11-28T14:02:00.000Z");
  assert.match(describeOutage(history.outage), /^takes no builds since Sat.*, paused by ada$/);
  history.enter({ kind: "ready" });
  assert.equal(history.outage, undefined);
});

test("what an upgraded agent finds: events of its version before, and keys of a later one", async () => {
  using folder = testFolder();
  const at = "2026-11-28T14:02:00.000Z";
  const before = { at, since: at, state: "quarantined", cause: "silent", reason: "no byte", tries: 7 };
  const later = { ...before, at: "2026-11-28T15:00:00.000Z", tries: 9, mood: { of: "the board" } };
  const build = {
    at: "2026-11-28T15:01:00.000Z",
    build: "smoke#9",
    ending: "infrastructure",
    cause: "silent",
  };
  const lines = [before, later, { ...build, bootMs: 1200 }, { ...build, bootMs: "fast" }];
  writeFileSync(
    join(folder.path, "2026-11.jsonl"),
    lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
  );
  const { clock, open, faults } = openHistory(folder.path);
  clock.now += 2 * dayMs;
  for (let restart = 0; restart < 10; restart++) {
    using history = open();
    for (const state of starting) history.enter(state);
    history.enter({ kind: "quarantined", reason: "3 infrastructure failures in a row" });
    const { since, tries, cause } = history.outage ?? {};
    assert.deepEqual([since, tries, cause], [at, 9, "silent"]);
    assert.match(describeOutage(history.outage ?? assert.fail()), /^out of order since Sat/);
  }
  const builds = (await open().read(0)).filter((event) => "build" in event);
  assert.deepEqual(builds, [{ ...build, bootMs: 1200 }]);
  assert.deepEqual(faults, []);
});

test("half lines, foreign lines, foreign files and links cost neither a start nor the rest", async () => {
  using folder = testFolder();
  const { open, faults } = openHistory(folder.path);
  open().enter({ kind: "paused", reason: "mine", by: "ada" });
  const file = join(folder.path, "2026-11.jsonl");
  appendFileSync(
    file,
    `\0\0\n[1]\nnull\n{"at":5}\n{"at":"2026-11-28T14:02:00.000Z","state":"on fire"}\n{"at":"x","build":1}\n{"at":"20`,
  );
  mkdirSync(join(folder.path, "2026-10.jsonl"));
  writeFileSync(join(folder.path, "notes.txt"), "hello");
  symlinkSync("/etc/passwd", join(folder.path, "2026-09.jsonl"));
  const history = open();
  assert.equal(history.outage?.who, "ada");
  history.ended({ build: "smoke#1", ending: "passed", cause: "passed" }, false);
  const events = await history.read(0);
  assert.equal(events.length, 2);
  assert.deepEqual(events[1], {
    at: "2026-11-28T14:02:00.000Z",
    build: "smoke#1",
    ending: "passed",
    cause: "passed",
  });
  assert.deepEqual(faults, []);
  // A folder in the place of this month's file is reported, and the board goes on.
  const other = join(folder.path, "other");
  mkdirSync(join(other, "2026-11.jsonl"), { recursive: true });
  const broken = openHistory(other);
  const board = broken.open();
  board.enter({ kind: "paused", reason: "mine" });
  assert.equal(board.outage?.cause, "paused");
  assert.match(broken.faults[0] ?? "", /^its history can't be written: EISDIR/);
});

test("a month begins with how the board stands, and old months are removed, also of boards that are gone", async () => {
  using folder = testFolder();
  const device = join(folder.path, "mcu-1");
  const { clock, open } = openHistory(join(device, "history"));
  const history = open();
  history.enter({ kind: "quarantined", reason: "sick" });
  for (let month = 0; month < 4; month++) {
    clock.now += 31 * dayMs;
    history.ended({ build: `health#${month}`, ending: "failed", cause: "failed" }, false);
  }
  const reopened = open();
  assert.equal(reopened.outage?.since, "2026-11-28T14:02:00.000Z");
  writeFileSync(join(device, "history", "notes.txt"), "");
  await pruneHistories(folder.path, Date.parse("2027-02-15T00:00:00Z"));
  const kept = readdirSync(join(device, "history")).sort();
  assert.deepEqual(kept, ["2027-03.jsonl", "2027-04.jsonl", "notes.txt"]);
  await pruneHistories(join(folder.path, "nothing"), 0);
});

test("a board that fails in turns for a year, and one with 20 builds a day, stay small and are read whole", async (t) => {
  using folder = testFolder();
  const { clock, open } = openHistory(join(folder.path, "flapping"));
  const flapping = open();
  for (let tries = 0; tries < 366 * 288; tries++) {
    flapping.enter(tries % 2 ? refused : { kind: "recovering", reason: "silent: no byte", cause: "silent" });
    clock.now += 5 * minuteMs;
  }
  const kept = await flapping.read(0);
  assert.equal(foldOutages(kept)[0]?.since, "2026-11-28T14:02:00.000Z");
  assert.ok(kept.length < 3000, `${kept.length} lines`);
  const busy = openHistory(join(folder.path, "busy"));
  const board = busy.open();
  for (let build = 1; build <= 365 * 20; build++) {
    board.ended({ build: `boot-smoke#${build}`, ending: "passed", cause: "passed", bootMs: 12_345 }, false);
    busy.clock.now += dayMs / 20;
  }
  const files = readdirSync(join(folder.path, "busy"));
  const bytes = files.reduce((sum, name) => sum + statSync(join(folder.path, "busy", name)).size, 0);
  // Fifty of them: less than 100 MB.
  assert.ok(bytes < 2_000_000, `${bytes} bytes`);
  const begun = performance.now();
  assert.equal((await board.read(saturday)).filter((event) => "build" in event).length, 365 * 20);
  t.diagnostic(
    `a year of a board: ${Math.round(bytes / 1000)} kB, read in ${Math.round(performance.now() - begun)} ms`,
  );
  assert.match(
    readFileSync(join(folder.path, "busy", "2027-01.jsonl"), "utf8"),
    /^{"at":"2027-01-01T[^\n]*"state":"ready"}\n/,
  );
});
