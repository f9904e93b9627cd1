/** How a job's script becomes one for the board's shell. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { shellScript } from "#/runners/board/shell.ts";

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

test("other interpreters are refused, and other consoles get the script as it is", () => {
  assert.equal(shellScript("#!/usr/bin/python3\nprint()", "linux", {}), undefined);
  assert.equal(shellScript("#!/bin/bash\n", "linux", {}), undefined);
  assert.equal(shellScript("print(1)", "micropython", { A: "b" }), "print(1)");
});
