/** U-Boot stops its autoboot and answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { lacksEmulator } from "./emulator.ts";
import { startUboot } from "./uboot.ts";
import { Wire } from "./wire.ts";

test("U-Boot tells its version", { skip: lacksEmulator("qemuArm64", "ubootArm64") }, async () => {
  await using target = await startUboot();
  using wire = new Wire(target.tty);
  await wire.until("Hit any key to stop autoboot");
  await wire.say(" ");
  await wire.until("=> ");
  await wire.say("version\r");
  assert.match(await wire.until("=> "), /U-Boot 20\d\d\.\d\d/);
  await wire.say("false; echo code $?\r");
  assert.match(await wire.until(/code \d/), /code 1/);
});
