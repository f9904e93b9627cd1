/** The bad board is good without faults, bad with them, and tells the truth about it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, watch } from "node:fs";
import { dirname } from "node:path";
import { test } from "node:test";

import { bounded } from "../support/servers.ts";
import { type BadBoard, lacksMachine, machineLogin, startBadBoard } from "./bad-board.ts";
import { drawFaults } from "./mishaps.ts";
import { lacksTarget } from "./target.ts";
import { Wire } from "./wire.ts";

const skip = lacksTarget("busybox") || lacksMachine();

test("without faults it takes a login, runs commands and keeps files", { skip }, async () => {
  await using board = await startBadBoard({ seed: 1, faults: {} });
  using wire = await logIn(board);
  await wire.say("seq 3; (exit 5); echo $? >/truth/code; [ -t 0 ]; echo end-$?\r");
  assert.match(await wire.until(/end-\d\r\n/), /\r\n1\r\n2\r\n3\r\nend-0\r\n/);
  assert.equal(await board.truth.file("code"), "5\n");
  await wire.until("# \x1b[6n");
  assert.equal(board.truth.wrote.toString("latin1").slice(-20), wire.text.slice(-20));
  assert.deepEqual(board.truth.mishaps, []);
});

test("a wrong password is refused, and Ctrl-C ends what runs", { skip }, async () => {
  await using board = await startBadBoard({ seed: 1, faults: {} });
  using wire = new Wire(board.tty);
  await wire.until("login: ");
  await wire.say("root\r");
  await wire.until("Password: ");
  await wire.say("no\r");
  await wire.until("Login incorrect");
  await enter(wire);
  // The child says it: a Ctrl-C between the shell's own words and the start of a child would be lost.
  await wire.say("sh -c 'echo now; exec sleep 60'\r");
  await wire.until("\nnow\r\n");
  await wire.say("\x03");
  await wire.until("# ");
});

test("`reboot` ends all that ran, and empties /tmp", { skip }, async () => {
  await using board = await startBadBoard({ seed: 1, faults: {} });
  using wire = await logIn(board);
  await wire.say("echo kept >/tmp/file; setsid sleep 600 & reboot\r");
  await wire.until("U-Boot");
  await enter(wire);
  await wire.say("ls /tmp | wc -l; ps | grep -c '[s]leep 600'\r");
  await wire.until(/\r\n0\r\n0\r\n/);
  assert.equal(board.truth.boots, 2);
});

test("it can have each mishap, and names it", { skip }, async () => {
  const faults = { kernelLines: 80, falsePrompts: true, stalls: 2, stallTime: 50, span: 1500 };
  await using board = await startBadBoard({
    seed: 3,
    faults: { ...faults, reboots: 1, vanishes: 1, vanishTime: 30 },
  });
  while (board.truth.mishaps.length < 4) {
    await present(board.tty);
    using wire = new Wire(board.tty);
    await wire.say("\r");
    // What is under way when the adapter is pulled out is lost.
    await wire.until("login: ", 300).catch(() => {});
  }
  const kinds = board.truth.mishaps.map((mishap) => mishap.split(" ")[0]).sort();
  assert.deepEqual(kinds, ["reboot", "stall", "stall", "vanish"]);
});

test("a flood of 10 MB arrives whole", { skip }, async () => {
  await using board = await startBadBoard({ seed: 4, faults: { flood: 10_000_000, span: 10 } });
  using wire = new Wire(board.tty);
  await wire.received(10_000_000);
  await wire.until("bad-board login: ");
  const rest = wire.text.length - 10_000_000 - board.truth.wrote.length;
  assert.ok(rest > 0 && rest < 500, `${rest} bytes besides, which is what it says while it boots`);
});

test("the same seed draws the same, and seeds differ", () => {
  assert.deepEqual(drawFaults(5), drawFaults(5));
  const drawn = new Set(Array.from({ length: 100 }, (_, seed) => JSON.stringify(drawFaults(seed))));
  assert.ok(drawn.size > 85, `${drawn.size} of 100`);
});

async function present(link: string): Promise<void> {
  const watcher = watch(dirname(link));
  try {
    const changed = once(watcher, "change");
    if (!existsSync(link)) await bounded(changed);
  } finally {
    watcher.close();
  }
}

async function logIn(board: BadBoard): Promise<Wire> {
  const wire = new Wire(board.tty);
  await enter(wire);
  return wire;
}

async function enter(wire: Wire): Promise<void> {
  await wire.until("bad-board login: ");
  await wire.say(`${machineLogin.user}\r`);
  await wire.until("Password: ");
  await wire.say(`${machineLogin.password}\r`);
  await wire.until("# ");
}
