/** How a job's script becomes one for the board's shell. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { shellScript } from "#/runners/board/shell.ts";
import { temporaryFolder } from "../../support/servers.ts";

function run(script: string, variables: Record<string, string> = {}) {
  const whole = shellScript(script, "linux", variables);
  const { status, stdout } = spawnSync("/bin/sh", { input: whole, encoding: "utf8", env: {} });
  return [status, stdout];
}

test("a script on Linux ends at the first command that fails", () => {
  assert.deepEqual(run("echo one\nfalse\necho three"), [1, "one\n"]);
  assert.deepEqual(run("#!/bin/sh\necho one\nfalse\necho three"), [0, "one\nthree\n"]);
  assert.deepEqual(run("#! /bin/sh -eu\necho one\necho $missing\necho three")[1], "one\n");
});

test("a script has its variables, exactly", () => {
  const value = 'it\'s "quoted" $HOME `x` \\ two\nlines';
  assert.deepEqual(run("sh -c 'printf %s \"$A\"'", { A: value }), [0, value]);
});

test("with a terminal, a script has the same output and exit code", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "j");
  const script = 'test -t 0 && test -t 1 && stty size\necho "it\'s $A"\nsh -c "exit 7"\necho never';
  await writeFile(file, shellScript(script, "linux", { A: "two\nlines" }, true) ?? "");
  const { status, stdout } = spawnSync("/bin/sh", [file], {
    encoding: "utf8",
    env: { PATH: process.env.PATH },
  });
  assert.deepEqual([status, stdout], [7, "24 80\nit's two\nlines\n"]);
});

test("without a program that makes a terminal, a script fails and says so", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "j");
  await writeFile(file, shellScript("echo never", "linux", {}, true) ?? "");
  const { status, stderr } = spawnSync("/bin/sh", [file], { encoding: "utf8", env: { PATH: folder.path } });
  assert.deepEqual([status, stderr], [127, "tty: the board has neither script(1) nor python3\n"]);
});

test("other interpreters are refused, and other consoles get the script as it is", () => {
  assert.equal(shellScript("#!/usr/bin/python3\nprint()", "linux", {}), undefined);
  assert.equal(shellScript("#!/bin/bash\n", "linux", {}), undefined);
  assert.equal(shellScript("print(1)", "micropython", { A: "b" }), "print(1)");
});
