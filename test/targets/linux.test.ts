/** The Linux board boots, lets its users in, and answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { lacksEmulator } from "./emulator.ts";
import { linuxUsers } from "./initramfs.ts";
import { loadLinux, startLinux } from "./linux.ts";
import { Wire } from "./wire.ts";

const skip = lacksEmulator("qemuArm64", "linuxArm64", "busyboxArm64");

test("Linux lets root in with a password, and a guest without", { skip }, async () => {
  await using target = await startLinux();
  using wire = new Wire(target.tty);
  await logIn(wire, linuxUsers.root.user, linuxUsers.root.password);
  await wire.say("uname -m; (exit 3); echo code $?\r");
  assert.match(await wire.until(/code \d/), /\r\naarch64\r\ncode 3/);
  await wire.say("echo '<1>a word from the kernel' >/dev/kmsg; id -u\r");
  await wire.until(/\] a word from the kernel\r\n/);
  await wire.say("exit\r");
  await logIn(wire, linuxUsers.guest.user, linuxUsers.guest.password);
  await wire.say("id -u; pwd\r");
  await wire.until(/\r\n1000\r\n\/home\/guest\r\n/);
});

test("U-Boot loads Linux, and `reboot` comes back to U-Boot", {
  skip: skip || lacksEmulator("ubootArm64"),
}, async () => {
  await using target = await startLinux({ uboot: true });
  using wire = new Wire(target.tty);
  await wire.until("Hit any key to stop autoboot");
  await wire.say(" ");
  await wire.until("=> ");
  await wire.say(`${loadLinux}\r`);
  await logIn(wire, linuxUsers.root.user, linuxUsers.root.password);
  await wire.say("reboot\r");
  await wire.until("U-Boot 20");
});

async function logIn(wire: Wire, user: string, password: string): Promise<void> {
  await wire.until("rack-board login: ", 60_000);
  await wire.say(`${user}\r`);
  if (password !== "") {
    await wire.until("Password: ");
    await wire.say(`${password}\r`);
  }
  await wire.until(/[#$] /);
}
