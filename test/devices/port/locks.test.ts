import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { TtyIoctl } from "#/devices/port/tty-ioctl.ts";
import { testFolder } from "../../support/folders.ts";
import { lacks, part, partsEnv } from "../../support/parts.ts";
import { calls, hears, portAt, reaches } from "./ports.ts";
import { Pty } from "./pty.ts";

const skip = lacks("socat");

/** Another agent's process, until it is killed. */
function startHolder(path: string, uid?: number) {
  const file = new URL("holder-child.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", file, path], {
    stdio: ["pipe", "pipe", "inherit"],
    ...(uid !== undefined && { uid }),
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    said: async () => (await lines.next()).value ?? "nothing",
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** picocom as it reads the port, until it is killed. */
async function startPicocom(pty: Pty) {
  const child = spawn(part("picocom"), ["-q", pty.path], {
    env: partsEnv,
    stdio: ["pipe", "pipe", "ignore"],
  });
  // It drops what it receives while it sets up the port.
  const talking = setInterval(() => void pty.say("hello\n"), 20);
  await once(child.stdout, "data", { signal: AbortSignal.timeout(60_000) });
  clearInterval(talking);
  return {
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
}

const skipPicocom = lacks("socat", "picocom");

test("picocom on a busy port is refused", { skip: skipPicocom }, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using port = portAt(pty.path);
  await reaches(port, "open");
  const { status, stderr, stdout } = spawnSync(part("picocom"), ["-q", "-x", "5000", pty.path], {
    env: partsEnv,
    input: "",
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(status, 1);
  assert.match(stderr + stdout, /cannot lock/);
  await pty.say("undisturbed");
  await hears(port, "undisturbed");
});

test("a port lent to picocom is taken back once picocom has ended", { skip: skipPicocom }, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using port = portAt(pty.path);
  await reaches(port, "open");
  using writer = port.acquire("test");
  const loan = await writer.lend();
  await using picocom = await startPicocom(pty);
  const back = loan[Symbol.asyncDispose]();
  assert.deepEqual(port.state, { kind: "lent", path: loan.path, returned: true });
  await picocom[Symbol.asyncDispose]();
  await back;
  assert.equal(port.state.kind, "open");
  await pty.say("ours again");
  await hears(port, "ours again");
});

test("a port that another program has is refused with its name, and opened when it ends", {
  skip: skipPicocom,
}, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using picocom = await startPicocom(pty);
  await using port = portAt(pty.path);
  const { error } = await reaches(port, "refused");
  assert.equal(error.code, "PORT_BUSY");
  // socat itself has its end of the pty open too.
  assert.match(error.message, new RegExp(`in use by .*picocom \\(pid ${picocom.pid}\\)`));
  assert.throws(() => port.acquire("test"), { code: "PORT_BUSY" });
  await picocom[Symbol.asyncDispose]();
  await reaches(port, "open");
});

test("another agent keeps its port, also while it is lent; killed, it leaves nothing locked", {
  skip,
}, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using holder = startHolder(pty.path);
  assert.equal(await holder.said(), "open");
  await using port = portAt(pty.path);
  const { error } = await reaches(port, "refused");
  assert.match(error.message, /in use by labgear \(pid \d+\) for child/);
  await holder[Symbol.asyncDispose]();
  await reaches(port, "open");
  await pty.say("ours");
  await hears(port, "ours");
  const writer = port.acquire("test");
  await using _ = await writer.lend();
  await using second = startHolder(pty.path);
  assert.match(await second.said(), /^PORT_BUSY: .*labgear \(pid \d+\) for board/);
});

const nobody = 65_534;
const lacksRoot = process.getuid?.() === 0 ? false : "NOT TESTED HERE: only root can be another user";

test("a port without permission is refused with what to do, and retried", {
  skip: skip || lacksRoot,
}, async () => {
  using folder = testFolder();
  chmodSync(folder.path, 0o755);
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using holder = startHolder(pty.path, nobody);
  assert.match(await holder.said(), /^PORT_REFUSED: .*permission denied; add labgear's user to group/);
  chmodSync(pty.path, 0o666);
  assert.equal(await holder.said(), "open");
});

test("DTR and RTS stay up after a close: HUPCL is cleared", { skip: skip || !calls }, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using port = portAt(pty.path);
  await reaches(port, "open");
  const descriptor = openSync(pty.path, "r+");
  const termios = Buffer.alloc(44);
  assert.equal(calls?.ioctl(descriptor, 0x802c542a, termios), 0);
  closeSync(descriptor);
  assert.equal(termios.readUInt32LE(8) & 0x400, 0);
});

test("TIOCEXCL is set and cleared", { skip: skip || !calls }, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  const tty = new TtyIoctl(calls);
  const descriptor = openSync(pty.path, "r+");
  const exclusive = () => {
    const answer = Buffer.alloc(4);
    calls?.ioctl(descriptor, 0x80045440, answer);
    return answer.readInt32LE() !== 0;
  };
  assert.equal(exclusive(), false);
  tty.setExclusive(descriptor, true);
  assert.equal(exclusive(), true);
  tty.setExclusive(descriptor, false);
  assert.equal(exclusive(), false);
  closeSync(descriptor);
});
