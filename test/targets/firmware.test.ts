/** Every image says on its board what it is there for. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { lacksEmulator } from "./emulator.ts";
import { type Image, runId, startFirmware } from "./firmware.ts";
import { Wire } from "./wire.ts";

const skip = lacksEmulator("qemuArm");
const shell = promisify(execFile);

const endings: readonly (readonly [Image, RegExp])[] = [
  ["ztest-pass", new RegExp(`RunID: ${runId}\r\nPROJECT EXECUTION SUCCESSFUL\r\n`)],
  ["ztest-fail", /PROJECT EXECUTION FAILED\r\n/],
  ["ztest-hang", /START - test_subtraction\r\n/],
  ["ztest-crash", /test_subtraction\r\n.*FAULT[\s\S]*ZEPHYR FATAL ERROR 36[\s\S]*Halting system\r\n/],
  [
    "ztest-late-crash",
    /PROJECT EXECUTION SUCCESSFUL\r\n[\s\S]*ZEPHYR FATAL ERROR 36[\s\S]*Halting system\r\n/,
  ],
  ["ztest-old", /RunID: 01d0[\s\S]*PROJECT EXECUTION SUCCESSFUL\r\n/],
  ["ztest-again", /(Booting[\s\S]*?SUCCESSFUL\r\n[\s\S]*?){3}/],
  ["ztest-restart", /(Booting[\s\S]*?START - test_addition\r\n[\s\S]*?){3}/],
  ["unity-pass", /3 Tests 0 Failures 1 Ignored \r\nOK\r\n/],
  ["unity-fail", /2 Tests 1 Failures 0 Ignored \r\nFAIL\r\n/],
  ["unity-hang", /test_add:PASS\r\n/],
  ["tap-pass", /ok 4 - subtracts\r\n/],
  ["tap-fail", /not ok 2 - subtracts\r\n[\s\S]*\.\.\.\r\n/],
  ["tap-short", /ok 2 - subtracts\r\n/],
  ["tap-bail-out", /Bail out! the sensor is gone\r\n/],
];

test("images say their lines, one flashed after the other", { skip }, async () => {
  await using target = await startFirmware("silent");
  using wire = new Wire(target.tty);
  for (const [image, pattern] of endings) {
    await shell("sh", ["-c", target.powerCommand(`flash ${image}`)]);
    await wire.until(pattern);
  }
  assert.deepEqual(target.power.slice(0, 2), ["on", "flash ztest-pass"]);
});

test("a menu answers to keys, and a stream counts without a gap", { skip }, async () => {
  await using target = await startFirmware("menu");
  using wire = new Wire(target.tty);
  await wire.until("> ");
  await wire.say("vt");
  assert.equal(await wire.until(/C\r\n> /), "version 1.4\r\n> temperature 22 C\r\n> ");
  await shell("sh", ["-c", target.powerCommand("flash stream")]);
  const lines = (await wire.until(/line 00000999 .*\r\n/)).split("\r\n").slice(0, -1);
  assert.deepEqual(
    lines.map((line) => Number(line.slice(5, 13))),
    lines.map((_, index) => index),
  );
  assert.ok(lines.every((line) => line.length === 62));
});
