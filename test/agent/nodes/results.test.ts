/** What `fetch:` reads is a build's own, whatever path is asked for. */
import assert from "node:assert/strict";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { Results } from "#/agent/nodes/results.ts";
import { Masker } from "#/builds/masker.ts";
import { summarize } from "#/builds/record.ts";
import { BuildStore } from "#/builds/store.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { parseFetch } from "#/exchange/fetch.ts";
import { facts, record } from "../../builds/build-parts.ts";
import { seeded } from "../../support/random.ts";
import { scale } from "../../support/scale.ts";
import { temporaryFolder } from "../../support/servers.ts";

const secret = "a secret of the box";

/** A build's folder beside others, with everything in it that a job could plant. */
async function plant(root: string) {
  const folder = join(root, "builds", "unit-tests", "1");
  const artifacts = join(folder, "artifacts");
  await mkdir(join(artifacts, "deep", "er"), { recursive: true });
  await mkdir(join(root, "builds", "unit-tests", "2", "artifacts"), { recursive: true });
  const tests = [{ suite: "s", name: "one", classname: "", time: 0, status: "passed" }];
  const ended = record({
    ended: "2026-01-02T03:05:05.678Z",
    ending: { kind: "passed", reason: "it passed" },
    tests: { tests: 1, failures: 0, errors: 0, skipped: 0 },
    artifacts: [{ path: "own.txt", size: 3 }],
  });
  const own = {
    "build.json": JSON.stringify(ended),
    "console.log": "the console\n",
    "tests.json": JSON.stringify(tests),
    "artifacts/own.txt": "own",
    "artifacts/deep/er/own.txt": "own",
  };
  for (const [name, content] of Object.entries(own)) await writeFile(join(folder, name), content);
  for (const name of ["parameters.json", "script", "../2/artifacts/own.txt", "../../../secret"])
    await writeFile(join(folder, name), secret);
  const links = {
    out: "../../../../secret",
    up: "..",
    root: "/",
    here: ".",
    parameters: "../parameters.json",
    neighbour: "../../2/artifacts/own.txt",
    inside: "own.txt",
    loop: "loop",
  };
  for (const [name, to] of Object.entries(links)) await symlink(to, join(artifacts, name));
  return { job: "unit-tests", number: 1, folder, summary: summarize(ended) };
}

test("no path leads to anything but the build's own files", async () => {
  await using root = await temporaryFolder();
  const found = await plant(root.path);
  const results = new Results();
  const read = async (path: string) => (await results.read(found, path, 0, 1024 * 1024)).bytes.toString();
  for (const path of ["record", "console", "tests", "junit", "artifacts"])
    assert.ok((await read(path)).length > 0);
  for (const path of ["artifacts/own.txt", "artifacts/deep/er/own.txt", "artifacts/inside"])
    assert.equal(await read(path), "own");

  const random = seeded(15);
  const parts = [
    ...["..", ".", "", "/", "//", "artifacts", "own.txt", "deep", "er", "out", "up", "root", "here", "loop"],
    ...["parameters", "parameters.json", "neighbour", "inside", "script", "secret", "build.json", "1", "2"],
    ...["builds", "unit-tests", "console", "record", "serial", "proc", "self", "root", "etc", "passwd"],
    ...["%2e%2e", "..%2f", "..\\", "\0", "\n", "\u2028", "é", "x".repeat(300), "~", "*", "{a,b}", "\ud800"],
  ];
  let opened = 0;
  for (let round = 0; round < scale(1000, 100_000); round++) {
    const length = 1 + random(7);
    const names = Array.from({ length }, () => parts[random(parts.length)] ?? "");
    const path = `${["", "artifacts/", "artifacts/", "artifacts/../"][random(4)]}${names.join("/")}`;
    try {
      // As the wire has it first.
      const request = parseFetch(Buffer.from(JSON.stringify({ uuid: "0af2", path })));
      const text = await read(request.path);
      assert.ok(!text.includes(secret), JSON.stringify(path));
      if (path.startsWith("artifacts/")) assert.equal(text, "own", JSON.stringify(path));
      opened += 1;
    } catch (error) {
      assert.ok(error instanceof ExchangeError, `${error} for ${JSON.stringify(path)}`);
    }
  }
  assert.ok(opened > 0, "some of them are the build's own");
});

test("ranges meet at their ends, and beyond the end there is nothing", async () => {
  await using root = await temporaryFolder();
  const found = await plant(root.path);
  const results = new Results();
  const range = async (offset: number, length: number) => {
    const { bytes, size, end } = await results.read(found, "console", offset, length);
    return [bytes.toString(), size, end];
  };
  assert.deepEqual(await range(0, 4), ["the ", 12, false]);
  assert.deepEqual(await range(4, 100), ["console\n", 12, true]);
  assert.deepEqual(await range(12, 1), ["", 12, true]);
  assert.deepEqual(await range(1e15, 1), ["", 12, true]);
});

test("a console has its end when all that was held back is in it", async () => {
  await using root = await temporaryFolder();
  const { store } = await BuildStore.open({ folder: root.path, nextNumber: () => 1, url: () => "" });
  const build = store.create(facts);
  const console = await build.open(1_000_000);
  console.mask(new Masker([Buffer.from("a password of eight words")]));
  await console.write(Buffer.from("the first line\na password of eight"));
  const found = store.find({ job: facts.job, number: 1 });
  assert.ok(found);
  const results = new Results();
  const ended = build.end({ kind: "passed", reason: "the job passed" }, () => "SUCCESS");
  assert.equal((await results.read(found, "console", 0, 1000)).end, false);
  await ended;
  const { bytes, end } = await results.read(found, "console", 0, 1000);
  assert.deepEqual([bytes.toString(), end], ["the first line\na password of eight", true]);
});
