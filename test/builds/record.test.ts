import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { type BuildRecord, readRecord, recordFile, writeRecord } from "#/builds/record.ts";
import { lacksMount, smallDisk, testFolder } from "../support/folders.ts";
import { record } from "./build-parts.ts";

const run = promisify(execFile);

test("a record comes back as it was written, with all that can be in one", async () => {
  using folder = testFolder();
  const full = record({
    target: "x86-64",
    started: "2026-01-02T03:04:06.000Z",
    ended: "2026-01-02T03:05:06.000Z",
    ending: { kind: "failed", reason: "the job ended with exit code 2", exitCode: 2 },
    result: "FAILURE",
    description: "<b>Grüße\u2028\0</b>",
    commit: "0".repeat(40),
    console: { bytes: 12, cut: 0 },
    artifacts: [{ path: "a/b.bin", size: 7 }],
    tests: { tests: 3, failures: 1, errors: 0, skipped: 1 },
    steps: [{ name: "run", started: "2026-01-02T03:04:06.000Z", took: 60_000 }],
    leftovers: [{ pid: 77, command: "sleep 1000" }],
    survivors: [],
    warnings: ["one"],
    parameters: Object.fromEntries([["__proto__", "kept"]]),
  });
  await writeRecord(folder.path, record());
  await writeRecord(folder.path, full);
  assert.deepEqual(await readRecord(folder.path), full);
  assert.deepEqual(readdirSync(folder.path), ["build.json"]);
  assert.equal(statSync(recordFile(folder.path)).mode & 0o777, 0o644);
});

test("records written at once don't mix", async () => {
  using folder = testFolder();
  const many = Array.from({ length: 30 }, (_, index) =>
    record({ number: index + 1, warnings: ["x".repeat(index * 999)] }),
  );
  await Promise.all(many.map((one) => writeRecord(folder.path, one)));
  const { number } = await readRecord(folder.path);
  assert.deepEqual(await readRecord(folder.path), many[number - 1]);
  assert.deepEqual(readdirSync(folder.path), ["build.json"]);
});

test("readers find the old record or the new one, never a part", async () => {
  using folder = testFolder();
  await writeRecord(folder.path, record());
  let writing = true;
  const writer = (async () => {
    for (let round = 0; round < 40; round++) {
      await writeRecord(folder.path, record({ description: "x".repeat(round * 5000) }));
    }
    writing = false;
  })();
  let read = 0;
  for (; writing; read++) assert.equal((await readRecord(folder.path)).uuid, "0af2");
  await writer;
  assert.ok(read > 0);
});

test("a record that the limit for files cuts short is an error, and the old one stays", async () => {
  using folder = testFolder();
  await writeRecord(folder.path, record());
  const child = new URL("record-child.ts", import.meta.url).pathname;
  // The system writes what fits into 8 blocks and reports no error for that.
  const limited = ["-c", 'ulimit -f 8 && exec "$0" "$@"', process.execPath, child, folder.path];
  assert.equal((await run("sh", limited)).stdout, "EFBIG");
  assert.deepEqual(await readRecord(folder.path), record());
  assert.deepEqual(readdirSync(folder.path), ["build.json"]);
  assert.equal((await run(process.execPath, [child, folder.path])).stdout, "written");
  assert.equal((await readRecord(folder.path)).description?.length, 100_000);
});

test("a record that a full disk cuts short is an error, and the old one stays", {
  skip: lacksMount(),
}, async () => {
  using disk = smallDisk(64);
  await writeRecord(disk.path, record());
  const long = record({ description: "x".repeat(100_000) });
  await assert.rejects(writeRecord(disk.path, long), { code: "ENOSPC" });
  assert.deepEqual(await readRecord(disk.path), record());
  assert.deepEqual(readdirSync(disk.path), ["build.json"]);
});

test("no folder is made for a record: what was removed stays so", async () => {
  using folder = testFolder();
  await assert.rejects(writeRecord(join(folder.path, "7"), record()), { code: "ENOENT" });
  assert.deepEqual(readdirSync(folder.path), []);
});

const damaged: Record<string, string | Buffer> = {
  "an empty file": "",
  "a file cut short": JSON.stringify(record()).slice(0, -9),
  "zeros, as a power cut leaves them": Buffer.alloc(500),
  "no object": "[]",
  null: "null",
  "a string": '"build"',
  "a deep nest": "[".repeat(200_000),
};
for (const [what, content] of Object.entries(damaged)) {
  test(`not a record: ${what}`, async () => {
    using folder = testFolder();
    writeFileSync(recordFile(folder.path), content);
    await assert.rejects(readRecord(folder.path), SyntaxError);
  });
}

const hostile: Record<string, unknown> = {
  version: 2,
  job: 7,
  number: 1.5,
  uuid: null,
  node: undefined,
  labels: "x86-64",
  executor: -1,
  parameters: { DEEP: { x: 1 } },
  assigned: "yesterday",
  ended: 1767322800000,
  ending: { kind: "exploded", reason: "so" },
  console: { bytes: "many", cut: 0 },
  artifacts: [{ path: ["a"], size: 1 }],
  warnings: { length: 1 },
};
for (const [key, value] of Object.entries(hostile)) {
  test(`not a record: ${key} is ${JSON.stringify(value)}`, async () => {
    using folder = testFolder();
    writeFileSync(recordFile(folder.path), JSON.stringify({ ...record(), [key]: value }));
    await assert.rejects(readRecord(folder.path), (error: Error) => {
      assert.ok(error instanceof SyntaxError);
      assert.match(error.message, new RegExp(`the record.*${key}`));
      return true;
    });
  });
}

test("what a later version adds is kept", async () => {
  using folder = testFolder();
  writeFileSync(recordFile(folder.path), JSON.stringify({ ...record(), colour: "blue" }));
  const read = await readRecord(folder.path);
  await writeRecord(folder.path, read);
  assert.equal(((await readRecord(folder.path)) as BuildRecord & { colour?: string }).colour, "blue");
});

test("what is no file in the record's place is neither waited for nor followed", async () => {
  using folder = testFolder();
  execFileSync("mkfifo", [recordFile(folder.path)]);
  await assert.rejects(readRecord(folder.path), new SyntaxError("it is not a regular file"));
  rmSync(recordFile(folder.path));
  symlinkSync("/etc/hostname", recordFile(folder.path));
  await assert.rejects(readRecord(folder.path), { code: "ELOOP" });
  await writeRecord(folder.path, record());
  assert.deepEqual(await readRecord(folder.path), record());
  rmSync(recordFile(folder.path));
  mkdirSync(recordFile(folder.path));
  await assert.rejects(readRecord(folder.path), SyntaxError);
  await assert.rejects(writeRecord(folder.path, record()), { syscall: "rename" });
  assert.deepEqual(readdirSync(folder.path), ["build.json"]);
});

test("a record larger than memory isn't read", async () => {
  using folder = testFolder();
  writeFileSync(recordFile(folder.path), "{");
  truncateSync(recordFile(folder.path), 1024 ** 4);
  await assert.rejects(readRecord(folder.path), SyntaxError);
});
