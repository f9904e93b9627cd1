/** The index of finished builds: it spares reading the records, and never counts more than they do. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readIndex, writeIndex } from "#/builds/index.ts";
import { recordFile } from "#/builds/record.ts";
import { BuildStore } from "#/builds/store.ts";
import { testFolder } from "../support/folders.ts";
import { record } from "./build-parts.ts";

const open = (state: string) =>
  BuildStore.open({
    folder: join(state, "builds"),
    nextNumber: (_, floor) => floor + 1,
    url: (job, number) => `http://rack7/${job}/${number}`,
  });

const aMinuteLater = () => Date.now() + 60_000;

function put(state: string, number: number): string {
  const folder = join(state, "builds", "unit-tests", `${number}`);
  const ended = "2026-01-01T00:00:00.000Z";
  const ending = { kind: "passed", reason: "the job passed" } as const;
  mkdirSync(folder, { recursive: true });
  writeFileSync(recordFile(folder), JSON.stringify(record({ number, ended, ending, result: "SUCCESS" })));
  return folder;
}

/** A state directory whose index, with the right stamps, says of each build what its record doesn't. */
async function planted(state: string): Promise<string[]> {
  const folders = [1, 2, 3].map((number) => put(state, number));
  await (await open(state)).store.saveIndex(aMinuteLater);
  const index = join(state, "builds.index");
  const entries = [...readIndex(index).values()];
  assert.equal(entries.length, 3);
  const changed = entries.map((entry) => ({ ...entry, summary: { ...entry.summary, result: "PLANTED" } }));
  await writeIndex(index, changed, aMinuteLater());
  return folders;
}

async function results(state: string) {
  const { store, warnings } = await open(state);
  const found = store.finished().map(({ number, result }) => `${number} ${result}`);
  return { found: found.sort(), warnings };
}

test("a record that is the file of the entry isn't read", async () => {
  using state = testFolder();
  await planted(state.path);
  assert.deepEqual(await results(state.path), {
    found: ["1 PLANTED", "2 PLANTED", "3 PLANTED"],
    warnings: [],
  });
});

test("a record that has changed counts, and so does one that the index doesn't know", async () => {
  const changes: Record<string, (file: string) => void> = {
    "in place": (file) => writeFileSync(file, readFileSync(file)),
    "in place, with its old times": (file) => {
      writeFileSync(file, readFileSync(file));
      utimesSync(file, 0, 0);
    },
    replaced: (file) => {
      writeFileSync(`${file}.other`, readFileSync(file));
      renameSync(`${file}.other`, file);
    },
  };
  for (const [name, change] of Object.entries(changes)) {
    using state = testFolder();
    const [, second = ""] = await planted(state.path);
    change(recordFile(second));
    put(state.path, 4);
    const expected = ["1 PLANTED", "2 SUCCESS", "3 PLANTED", "4 SUCCESS"];
    assert.deepEqual(await results(state.path), { found: expected, warnings: [] }, name);
  }
});

test("a build that is gone stays gone, and a damaged record is set aside", async () => {
  using state = testFolder();
  const [first = "", second = ""] = await planted(state.path);
  rmSync(first, { recursive: true });
  writeFileSync(recordFile(second), "{");
  const { found, warnings } = await results(state.path);
  assert.deepEqual(found, ["3 PLANTED"]);
  assert.match(warnings.join(), /build\.json" is damaged and was set aside/);
});

test("an index that can't be used is made anew", async () => {
  const damages: Record<string, (file: string) => void> = {
    cut: (file) => truncateSync(file, 200),
    empty: (file) => truncateSync(file, 0),
    "without a header": (file) => writeFileSync(file, "[]"),
    "one bit": (file) => {
      const bytes = readFileSync(file);
      bytes[bytes.length - 9] = (bytes[bytes.length - 9] ?? 0) ^ 1;
      writeFileSync(file, bytes);
    },
    "a pipe": (file) => {
      rmSync(file);
      execFileSync("mkfifo", [file]);
    },
    "of another version": (file) =>
      writeFileSync(file, readFileSync(file, "utf8").replace(/^labgear builds \d+/, "labgear builds 0")),
    gone: (file) => rmSync(file),
  };
  const silent = ["of another version", "gone"];
  for (const [name, damage] of Object.entries(damages)) {
    using state = testFolder();
    await planted(state.path);
    const index = join(state.path, "builds.index");
    damage(index);
    const { found, warnings } = await results(state.path);
    assert.deepEqual(found, ["1 SUCCESS", "2 SUCCESS", "3 SUCCESS"], name);
    if (silent.includes(name)) assert.deepEqual(warnings, [], name);
    else assert.match(warnings.join(), /builds\.index" can't be used \(.+\): every build's record/, name);
    await (await open(state.path)).store.saveIndex(aMinuteLater);
    assert.equal(readIndex(index).size, 3, name);
  }
});

test("a record that has just changed isn't in the index: another change could have the same time", async () => {
  using state = testFolder();
  put(state.path, 1);
  const { store } = await open(state.path);
  await store.saveIndex(() => Date.now());
  const { changed = 0 } = readIndex(join(state.path, "builds.index")).get("unit-tests#1")?.stamp ?? {};
  assert.ok(changed < Date.now() - 1000);
});

test("a finished record is changed without an index, so that no half of it stays after a crash", async () => {
  using state = testFolder();
  put(state.path, 1);
  await (await open(state.path)).store.saveIndex(aMinuteLater);
  const index = join(state.path, "builds.index");
  const { store } = await open(state.path);
  await store.describe({ job: "unit-tests", number: 1 }, "<b>new</b>");
  assert.equal(existsSync(index), false);
  await store.saveIndex(aMinuteLater);
  const [entry] = readIndex(index).values();
  assert.equal(entry?.summary.result, "SUCCESS");
});
