/** The state store: what it remembers over restarts, and what it does with damage and full disks. */
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openStore, StoreError } from "#/agent/state-store.ts";
import { folder } from "../config/folder.ts";

const run = promisify(execFile);
const child = fileURLToPath(new URL("state-store-child.ts", import.meta.url));

test("numbers go on after reopening, for each job its own", async () => {
  using dir = folder();
  const first = await openStore(dir.at("state"));
  assert.deepEqual(first.warnings, []);
  assert.deepEqual(
    [first.nextBuildNumber("a"), first.nextBuildNumber("a"), first.nextBuildNumber("b")],
    [1, 2, 1],
  );
  const second = await openStore(dir.at("state"));
  assert.deepEqual([second.nextBuildNumber("a"), second.nextBuildNumber("b")], [3, 2]);
});

test("a number is on the disk before it is returned, in a file for its owner alone", async () => {
  using dir = folder();
  const store = await openStore(dir.path);
  const number = store.nextBuildNumber("a");
  assert.equal(JSON.parse(readFileSync(dir.at("state.json"), "utf8")).numbers.a, number);
  assert.equal(statSync(dir.at("state.json")).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(dir.path), ["state.json"]);
});

test("numbers of builds that come fast are reserved: a crash leaves a gap, an end doesn't", async () => {
  using dir = folder();
  const saved = (): number => JSON.parse(readFileSync(dir.at("state.json"), "utf8")).numbers.a;
  const store = await openStore(dir.path);
  let last = store.nextBuildNumber("a");
  // Where the machine stalls in between it begins anew.
  while (saved() === last) last = store.nextBuildNumber("a");
  const reserved = saved();
  assert.equal(store.nextBuildNumber("a"), last + 1);
  assert.equal(saved(), reserved, "nothing is written for it");
  cpSync(dir.at("state.json"), dir.at("crashed/state.json"));
  assert.equal((await openStore(dir.at("crashed"))).nextBuildNumber("a"), reserved + 1);
  store.settle();
  assert.equal((await openStore(dir.path)).nextBuildNumber("a"), last + 2);
});

test("paused nodes and their reasons", async () => {
  using dir = folder();
  const store = await openStore(dir.path);
  store.setPaused("rack7", "new disk");
  store.setPaused("rpi4-a", "");
  store.nextBuildNumber("a");
  const again = await openStore(dir.path);
  assert.deepEqual(
    [...again.pausedNodes()],
    [
      ["rack7", "new disk"],
      ["rpi4-a", ""],
    ],
  );
  again.setPaused("rack7", undefined);
  again.setPaused("unknown", undefined);
  assert.deepEqual([...(await openStore(dir.path)).pausedNodes().keys()], ["rpi4-a"]);
});

test("jobs and nodes named after what every object has", async () => {
  using dir = folder();
  const names = ["__proto__", "constructor", "toString", "a.b", "__internal__", "0"];
  for (const round of [1, 2]) {
    const store = await openStore(dir.path);
    for (const name of names) {
      assert.equal(store.nextBuildNumber(name), round, name);
      store.setPaused(name, `for ${name}`);
    }
    assert.deepEqual(new Set(store.pausedNodes().keys()), new Set(names));
  }
  assert.deepEqual((await openStore(dir.path)).warnings, []);
});

test("a damaged file is set aside with a warning, and numbers go on above the builds on disk", async () => {
  const damages = [
    "",
    "{",
    '{"numbers": {"a": -1}}',
    '{"numbers": {"a": "7"}}',
    "[1]",
    "null",
    '{"other": 1}',
  ];
  for (const damage of damages) {
    using dir = folder({ "state.json": damage });
    const now = (): Date => new Date("2026-11-05T06:07:08.009Z");
    const store = await openStore(dir.path, { now });
    assert.equal(store.warnings.length, 1, damage);
    assert.match(
      store.warnings[0] ?? "",
      /state\.json was damaged .* is now .*state\.json\.damaged-20261105T060708\.009Z/,
    );
    assert.equal(readFileSync(dir.at("state.json.damaged-20261105T060708.009Z"), "utf8"), damage);
    assert.deepEqual(
      [store.nextBuildNumber("a", 41), store.nextBuildNumber("a", 41), store.nextBuildNumber("b")],
      [42, 43, 1],
    );
    assert.deepEqual((await openStore(dir.path)).warnings, []);
  }
});

test("numbers stay above the builds on disk when the file is older than they are", async () => {
  using dir = folder({ "state.json": '{"numbers":{"a":3}}' });
  assert.equal((await openStore(dir.path)).nextBuildNumber("a", 9), 10);
  assert.equal((await openStore(dir.path)).nextBuildNumber("a", 2), 11);
});

test("a file that is taken away or overwritten while the store is open is written anew", async () => {
  using dir = folder();
  const store = await openStore(dir.path);
  store.setPaused("n", "why");
  store.nextBuildNumber("a");
  rmSync(dir.at("state.json"));
  assert.equal(store.nextBuildNumber("a"), 2);
  writeFileSync(dir.at("state.json"), "garbage");
  assert.equal(store.nextBuildNumber("a"), 3);
  const again = await openStore(dir.path);
  assert.deepEqual(
    [again.warnings, again.nextBuildNumber("a"), again.pausedNodes().get("n")],
    [[], 4, "why"],
  );
});

test("what a kill in the middle of a write leaves behind doesn't matter", async () => {
  using dir = folder();
  (await openStore(dir.path)).nextBuildNumber("a");
  cpSync(dir.at("state.json"), dir.at("before"));
  writeFileSync(dir.at("state.json.new-1234567890abcdef"), '{"numbers": {"a": 7');
  const store = await openStore(dir.path);
  assert.deepEqual([store.warnings, store.nextBuildNumber("a")], [[], 2]);
  assert.deepEqual(readdirSync(dir.path).sort(), ["before", "state.json"]);
});

const failure = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof StoreError);
  assert.equal(error.code, code);
  assert.match(error.message, message);
  assert.ok(!error.message.includes("\n"));
  return true;
};

test("what isn't a file makes way, at the start and while the store is open", async () => {
  for (const spoil of [
    (path: string) => mkdirSync(join(path, "in it"), { recursive: true }),
    (path: string) => execFileSync("mkfifo", [path]),
    (path: string) => symlinkSync("/dev/zero", path),
  ]) {
    using dir = folder();
    spoil(dir.at("state.json"));
    const store = await openStore(dir.path);
    assert.match(store.warnings.join(), /state\.json was damaged \(it is not a regular file\) and is now/);
    assert.equal(store.nextBuildNumber("a", 4), 5);
    rmSync(dir.at("state.json"));
    spoil(dir.at("state.json"));
    store.setPaused("n", "why");
    const again = await openStore(dir.path);
    assert.deepEqual(
      [again.warnings, again.nextBuildNumber("a"), again.pausedNodes().get("n")],
      [[], 6, "why"],
    );
  }
});

test("while the directory can't be written, numbers go on in memory, and are written later", async () => {
  using dir = folder({ file: "" });
  await assert.rejects(
    () => openStore(dir.at("file/state")),
    failure("UNWRITABLE", /file\/state can't be written \(ENOTDIR\).*--state-dir/),
  );
  const store = await openStore(dir.at("gone"));
  store.nextBuildNumber("a");
  store.saveRest();
  rmSync(dir.at("gone"), { recursive: true });
  writeFileSync(dir.at("gone"), "");
  assert.equal(store.nextBuildNumber("a"), 2);
  assert.throws(() => store.saveRest(), failure("UNWRITABLE", /state\.json can't be written/));
  assert.throws(() => store.setPaused("n", "why"), failure("UNWRITABLE", /state\.json can't be written/));
  rmSync(dir.at("gone"));
  mkdirSync(dir.at("gone"));
  store.saveRest();
  assert.equal((await openStore(dir.at("gone"))).nextBuildNumber("a"), 3);
});

test("a directory of somebody else", async () => {
  using dir = folder();
  mkdirSync(dir.at("state"));
  chmodSync(dir.path, 0o755);
  chmodSync(dir.at("state"), 0o555);
  // Root may write anywhere: it becomes nobody first.
  const identity = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const { stdout } = await run(process.execPath, [child, dir.at("state")], identity);
  assert.match(stdout, /^UNWRITABLE: .*state can't be written \(EACCES\): check its owner and mode/);
});

test("a write cut short is an error, and the file stays as it was", async () => {
  using dir = folder();
  const long = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`job-${index}`, 7]));
  writeFileSync(dir.at("state.json"), JSON.stringify({ numbers: long, paused: {} }));
  // Like a disk that is full after the first kilobyte: the system writes what fits and reports no error.
  const limited = ["-c", 'ulimit -f 1 && exec "$0" "$@"', process.execPath, child, dir.path, "job-3"];
  // Node's own files would be too large.
  const { stdout } = await run("sh", limited, { env: { ...process.env, NODE_DISABLE_COMPILE_CACHE: "1" } });
  assert.match(stdout, /^FULL: .*state\.json can't be written \(EFBIG\): make room on its disk$/);
  assert.deepEqual(readdirSync(dir.path), ["state.json"]);
  const store = await openStore(dir.path);
  assert.deepEqual([store.warnings, store.nextBuildNumber("job-3")], [[], 8]);
});
