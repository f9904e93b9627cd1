/** The console of a real Linux on an emulated board: login, kernel messages in the middle, a reboot, files at 115,200 baud. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { LinuxConsole } from "#/devices/consoles/linux/linux.ts";
import { BoardFailure } from "#/devices/errors.ts";
import { seeded, seededBytes } from "../../support/random.ts";
import { scale } from "../../support/scale.ts";
import { lacksEmulator } from "../../targets/emulator.ts";
import { linuxUsers } from "../../targets/initramfs.ts";
import { type LinuxOptions, startLinux } from "../../targets/linux.ts";
import { conversation, newToken, sinkOf, sourceOf } from "./conversation.ts";
import { TtyLine } from "./tty-line.ts";

const skip = lacksEmulator("qemuArm64", "linuxArm64", "busyboxArm64");
/** A busy machine starts the board several times slower. */
const timeout = 600_000;
const baud = 11_520;

async function board(options: LinuxOptions = {}) {
  const target = await startLinux(options);
  const line = new TtyLine(target.tty);
  const talk = conversation(line, 600_000);
  const console = new LinuxConsole({ token: newToken, login: linuxUsers.root });
  return {
    target,
    line,
    talk,
    console,
    async run(script: string, timeout = 300_000) {
      const { code, complete } = await talk.hold(console.run(script, { timeoutMs: timeout }));
      return { code, complete, output: talk.output.toString("latin1") };
    },
    async [Symbol.asyncDispose]() {
      line[Symbol.dispose]();
      await target[Symbol.asyncDispose]();
    },
  };
}

test("a real Linux: login, exact output between kernel messages at full speed, interrupt, panic", {
  skip,
  timeout,
}, async () => {
  await using b = await board();
  b.target.broker.throttle(baud);
  await b.talk.hold(b.console.enter(300_000));
  assert.deepEqual(await b.run("tty; printf 'a\\0\\377\\r\\n'; exit 3"), {
    code: 3,
    complete: true,
    output: "not a tty\na\0\xff\r\n",
  });
  // It outlives the script that starts it: what a script writes is sent while it runs and after it has ended.
  const noise = `while :; do echo "<1>noise of the kernel, \\$ and # " >/dev/kmsg; sleep 0.02; done`;
  await b.run(`setsid sh -c '${noise}' >/dev/null 2>&1 & echo $! >/tmp/noise`);
  const numbers = Array.from({ length: 1000 }, (_, index) => `${index + 1} words\n`).join("");
  const broken = /~\w{8}[#=][\da-f:]+\r?\n[^~]*\[ *\d+\.\d+\] noise/;
  // Where the kernel breaks in is chance, so a frame that it breaks into is waited for.
  for (let tries = 0; tries === 0 || !broken.test(b.line.log); tries++) {
    assert.ok(tries < 30, "the kernel never broke into a frame");
    const printed = await b.run("seq 1 1000 | sed 's/$/ words/'; exit 5");
    assert.deepEqual(printed, { code: 5, complete: true, output: numbers });
  }
  assert.equal((await b.run("kill $(cat /tmp/noise)")).code, 0);
  const stopped = new AbortController();
  const running = b.talk.hold(
    b.console.run("echo up; sleep 10071", { timeoutMs: 60_000 }),
    stopped.signal,
    () => stopped.abort(new Error("stop")),
  );
  await assert.rejects(running, /stop/);
  assert.equal(await b.talk.hold(b.console.interrupt(30_000)), true);
  assert.equal((await b.run("ps | grep -c '[s]leep 10071'; :")).output, "0\n");
  await assert.rejects(b.run("echo c >/proc/sysrq-trigger"), (error) => {
    assert.ok(error instanceof BoardFailure);
    assert.match(error.reason, /panic|rebooted/);
    return true;
  });
});

test("a real Linux: `reboot` in a script isn't taken for its end, and the board can be entered again", {
  skip,
  timeout,
}, async () => {
  await using b = await board();
  await b.talk.hold(b.console.enter(300_000));
  await assert.rejects(b.run("echo before; sleep 1; reboot; sleep 60"), { reason: "rebooted" });
  assert.equal(b.talk.output.toString(), "before\n");
  await b.talk.hold(b.console.enter(300_000));
  assert.deepEqual(await b.run("echo after"), { code: 0, complete: true, output: "after\n" });
});

test("a real Linux: a file at 115,200 baud, and again with the line cut half-way", {
  skip,
  timeout,
}, async () => {
  await using b = await board();
  await b.talk.hold(b.console.enter(300_000));
  b.target.broker.throttle(baud);
  const size = scale(50_000, 1_000_000);
  const wire = ((size * 4) / 3 / baud) * 1000;
  const sum = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
  const first = seededBytes(seeded(1), size);
  await b.talk.hold(b.console.put(sourceOf(first), "/tmp/first"));
  assert.equal((await b.run("sha256sum /tmp/first")).output, `${sum(first)}  /tmp/first\n`);
  const second = seededBytes(seeded(2), size);
  const putting = b.talk.hold(b.console.put(sourceOf(second), "/tmp/second"));
  await wait(wire / 2);
  b.target.broker.cut();
  await wait(3000);
  b.target.broker.restore();
  await putting;
  assert.equal((await b.run("sha256sum /tmp/second")).output, `${sum(second)}  /tmp/second\n`);
  const sink = sinkOf(second.subarray(0, size / 2));
  await b.talk.hold(b.console.get("/tmp/second", sink));
  assert.ok(sink.bytes.equals(second));
});
