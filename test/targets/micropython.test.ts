/** MicroPython answers, and survives what a lab does to it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import { test } from "node:test";
import { promisify } from "node:util";
import { lacksEmulator } from "./emulator.ts";
import { startMicroPython } from "./micropython.ts";
import { Wire } from "./wire.ts";

const skip = lacksEmulator("qemuArm", "micropythonMicrobit");
const shell = promisify(execFile);

test("MicroPython adds", { skip }, async () => {
  await using target = await startMicroPython();
  using wire = new Wire(target.tty);
  assert.match(await wire.until(">>> "), /MicroPython v1\.9\.2/);
  await wire.say("20+22\r");
  assert.match(await wire.until(">>> "), /20\+22\r\n42\r\n/);
});

test("an adapter pulled out hangs up, and comes back under the same name while the board runs on", {
  skip,
}, async () => {
  await using target = await startMicroPython();
  const first = realpathSync(target.tty);
  using before = new Wire(target.tty);
  await before.until(">>> ");
  await before.say("kept = 5\r");
  await before.until(">>> ");
  await target.unplug();
  await before.closed;
  assert.equal(existsSync(target.tty), false);
  await target.plug();
  using after = new Wire(target.tty);
  await after.say("kept + 1\r");
  await after.until(/\r\n6\r\n/);
  assert.ok(first.startsWith("/dev/pts/"));
});

test("the power is switched by the test and by commands of a shell", { skip }, async () => {
  await using target = await startMicroPython({ off: true });
  using wire = new Wire(target.tty);
  await target.powerOn();
  await wire.until(">>> ");
  await target.reset();
  await wire.until(/MicroPython v1[^>]*>>> /);
  await target.powerOff();
  await shell("sh", ["-c", target.powerCommand("on")]);
  await wire.until(/MicroPython v1[^>]*>>> /);
  await shell("sh", ["-c", target.powerCommand("cycle")]);
  await wire.until(/MicroPython v1[^>]*>>> /);
  assert.deepEqual(target.power, ["on", "reset", "off", "on", "cycle"]);
});
