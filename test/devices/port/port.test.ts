import assert from "node:assert/strict";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { testFolder } from "../../support/folders.ts";
import { lacks } from "../../support/parts.ts";
import { hears, portAt, reaches, until } from "./ports.ts";
import { Pty } from "./pty.ts";

const skip = lacks("socat");

test("a port that is there is opened, read with times and offsets, and written to", { skip }, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using port = portAt(pty.path);
  await reaches(port, "open");
  assert.match(port.path ?? "", /^\/dev\/pts\/\d+$/);
  const before = Date.now();
  await pty.say("hello");
  assert.equal(await hears(port, "hello"), "hello");
  const chunk = port.ring.read(0);
  assert.ok(chunk && chunk.offset === 0 && chunk.at >= before && chunk.at <= Date.now());
  using writer = port.acquire("a build");
  await writer.write(Buffer.from("board, speak\r"));
  await until(() => pty.heard === "board, speak\r", "written");
  assert.equal(port.counters.received, 5);
  assert.equal(port.counters.sent, 13);
});

test("a port that appears later is found, also in a folder that appears later", { skip }, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "serial/by-id/usb-x"));
  await using port = portAt(pty.path);
  await once(port, "state");
  assert.match((await reaches(port, "absent")).reason, /path .*usb-x/);
  await pty.plug();
  await reaches(port, "open");
  await pty.say("late");
  await hears(port, "late");
  await pty.unplug();
  await reaches(port, "absent");
  rmSync(join(folder.path, "serial"), { recursive: true });
  await pty.plug();
  await reaches(port, "open");
  await pty.say("again");
  await hears(port, "again");
});

test("a port unplugged while data flows is lost each time, and read again when it is back", {
  skip,
}, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await using port = portAt(pty.path);
  for (let round = 0; round < 20; round++) {
    await pty.plug();
    await reaches(port, "open");
    const writer = port.acquire(`round ${round}`);
    const received = port.counters.received;
    const flood = setInterval(() => pty.far?.write(Buffer.alloc(20_000, "x")), 1);
    await until(() => port.counters.received > received + 50_000, "flowing");
    await pty.unplug();
    clearInterval(flood);
    await until(() => writer.lost.aborted, "lost");
    assert.equal((writer.lost.reason as { code: string }).code, "PORT_LOST");
    await assert.rejects(writer.write(Buffer.from("x")), { code: "PORT_LOST" });
    writer[Symbol.dispose]();
    await reaches(port, "absent");
  }
  assert.equal(port.counters.losses, 20);
});

test("a link moved to another tty while the old one stays: the new one is read", { skip }, async () => {
  using folder = testFolder();
  await using old = new Pty(join(folder.path, "dev"));
  await old.plug();
  await using port = portAt(old.path);
  const { path } = await reaches(port, "open");
  await using other = new Pty(old.path);
  await other.plug();
  await until(() => port.state.kind === "open" && port.path !== path, "at the other");
  await other.say("new board");
  await hears(port, "new board");
});

test("one writer at a time, and the message names the holder", { skip }, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await using port = portAt(pty.path);
  assert.throws(() => port.acquire("early"), { code: "PORT_ABSENT" });
  await pty.plug();
  await reaches(port, "open");
  const first = port.acquire("unit-tests#7");
  assert.throws(() => port.acquire("second"), { code: "PORT_BUSY", message: /unit-tests#7/ });
  first[Symbol.dispose]();
  port.acquire("second")[Symbol.dispose]();
});

test("control lines that a pty lacks are refused with a message, and the port stays open", {
  skip,
}, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using port = portAt(pty.path);
  await reaches(port, "open");
  using writer = port.acquire("a build");
  await assert.rejects(writer.setControl({ dtr: false }), { code: "PORT_REFUSED", message: /control lines/ });
  await assert.rejects(writer.sendBreak(10), { code: "PORT_REFUSED" });
  await writer.setBaud(9600);
  await pty.say("still here");
  await hears(port, "still here");
});

test("a flood arrives complete, and slow viewers see by the offsets what they missed", {
  skip,
}, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using port = portAt(pty.path, { ringSize: 64 * 1024 });
  await reaches(port, "open");
  const size = 10_000_000;
  const slow = port.follow(undefined, AbortSignal.timeout(30_000));
  await pty.say("begin ");
  assert.equal((await slow.next()).value?.offset, 0);
  let sum = 0;
  port.on("data", ({ bytes }) => {
    for (const byte of bytes) sum = (sum * 31 + byte) >>> 0;
  });
  const flood = Buffer.from(Uint8Array.from({ length: size }, (_, i) => i % 251));
  let expected = 0;
  for (const byte of flood) expected = (expected * 31 + byte) >>> 0;
  void pty.say(flood);
  await until(() => port.counters.received === size + 6, "all there");
  assert.equal(sum, expected);
  const next = await slow.next();
  assert.equal(next.value?.offset, size + 6 - 64 * 1024);
  await slow.return();
});

test("a far end that accepts nothing: a write waits, and a close ends it", { skip }, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  const port = portAt(pty.path);
  await reaches(port, "open");
  pty.freeze(true);
  const writer = port.acquire("a build");
  const writing = writer.write(Buffer.alloc(1_000_000));
  const ended = assert.rejects(writing, { code: "PORT_LOST" });
  await until(() => port.counters.sent > 0, "under way");
  await port[Symbol.asyncDispose]();
  await ended;
  assert.equal(port.state.kind, "closed");
});

test("a far end that accepts nothing for long: the write fails with a message, and the port stays open", {
  skip: skip || (process.env.LABGEAR_TEST_LONG ? false : "takes 10 s: npm run test:long"),
}, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using port = portAt(pty.path);
  await reaches(port, "open");
  pty.freeze(true);
  using writer = port.acquire("a build");
  await assert.rejects(writer.write(Buffer.alloc(1_000_000)), { code: "PORT_STUCK", message: /for 10 s/ });
  pty.freeze(false);
  await pty.say("thawed");
  await hears(port, "thawed");
});

test("a lent port can be opened by another program, but not by another writer; taken back, it is read again", {
  skip,
}, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using port = portAt(pty.path);
  await reaches(port, "open");
  using writer = port.acquire("firmware#1");
  {
    await using loan = await writer.lend();
    assert.equal(port.state.kind, "lent");
    assert.equal(loan.path, port.path);
    await assert.rejects(writer.write(Buffer.from("x")), { code: "PORT_LOST" });
    assert.throws(() => port.acquire("other"), { code: "PORT_BUSY", message: /firmware#1/ });
    await using second = portAt(pty.path, { name: "twin" });
    const { error } = await reaches(second, "refused");
    assert.equal(error.code, "PORT_BUSY");
    assert.match(error.message, /labgear \(pid \d+\) for board/);
  }
  assert.equal(port.state.kind, "open");
  assert.equal(writer.lost.aborted, false);
  await pty.say("flashed");
  await hears(port, "flashed");
  await writer.write(Buffer.from("ok"));
});

test("a port that is gone when it is taken back is absent after a moment, and its writer is lost", {
  skip,
}, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using port = portAt(pty.path);
  await reaches(port, "open");
  using writer = port.acquire("firmware#1");
  const loan = await writer.lend();
  await pty.unplug();
  const back = loan[Symbol.asyncDispose]();
  await pty.plug();
  await back;
  assert.equal(port.state.kind, "open");
  assert.equal(writer.lost.aborted, false);
  const second = await writer.lend();
  await pty.unplug();
  await second[Symbol.asyncDispose]();
  assert.equal(port.state.kind, "absent");
  assert.equal(writer.lost.aborted, true);
});
