/** Where fetched files go: each to its own name, whatever the names are. */
import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { isFileName, ResultFolder } from "#/cli/transfer/folder.ts";
import { temporaryFolder } from "../../support/servers.ts";

test("an artifact named like another one's unfinished file keeps its name and its content", async () => {
  await using temporary = await temporaryFolder();
  const names = ["x", "x.part", "x.part.part", "y"];
  for (const order of [names, names.toReversed()]) {
    const folder = new ResultFolder(temporary.path, names);
    for (const name of order) {
      await using file = await folder.open(name);
      assert.equal(file.size, 0, name);
      await file.handle.write(name);
      await file.finish();
    }
    assert.deepEqual((await readdir(temporary.path)).sort(), names);
    for (const name of names) assert.equal(await readFile(join(temporary.path, name), "utf8"), name);
  }
});

test("an attempt that was cut is gone on with, under the same name", async () => {
  await using temporary = await temporaryFolder();
  const names = ["x", "x.part"];
  {
    await using file = await new ResultFolder(temporary.path, names).open("x");
    await file.handle.write("half");
  }
  await using file = await new ResultFolder(temporary.path, names).open("x");
  assert.equal(file.size, 4);
});

test("a folder that can't be made is an error at once, also below /proc", { timeout: 30_000 }, async () => {
  await using temporary = await temporaryFolder();
  const file = join(temporary.path, "file");
  await writeFile(file, "");
  for (const path of ["/proc/foo", "/proc/foo/bar", file, join(file, "below/it")])
    await assert.rejects(new ResultFolder(path).open("x"), { code: /ENOENT|ENOTDIR|EEXIST/ }, path);
  const deep = join(temporary.path, "a/b/c/");
  await using made = await new ResultFolder(deep).open("x");
  await made.finish();
  assert.deepEqual(await readdir(deep), ["x"]);
});

test("names of devices and streams are none on Windows, and only there", () => {
  const devices = ["con", "PRN", "aux.txt", "NUL", "com0", "COM1.log", "lpt9", "COM¹", "lpt².x", "Com³"];
  const others = ["CONIN$", "conout$.bin", "CLOCK$", "nul .txt", "a:b", "a\\b", "a?", "<a>", "a.", "a "];
  for (const name of [...devices, ...others]) {
    assert.ok(!isFileName(name, "win32"), name);
    assert.ok(isFileName(name, "linux"), name);
  }
  for (const name of ["console", "com", "com10", "nully.txt", "a.con", "conin", "lpt", "COM⁴"])
    assert.ok(isFileName(name, "win32"), name);
  for (const name of ["", ".", "..", "a\0"]) assert.ok(!isFileName(name, "linux"), name);
});
