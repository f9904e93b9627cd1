/** What a person finds on a board that labgear has left: no folder, no prompt, no login of labgear's, and the terminal as it was. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { DeviceConfig } from "#/config/model.ts";
import { newKnownBoard } from "#/devices/consoles/linux/known.ts";
import { LinuxConsole } from "#/devices/consoles/linux/linux.ts";
import { openDevice } from "#/devices/device.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { loadSystemCalls } from "#/host/syscalls.ts";
import { lacks, part } from "../../support/parts.ts";
import { temporaryFolder } from "../../support/servers.ts";
import { lacksMachine, machineLogin, startBadBoard } from "../../targets/bad-board.ts";
import { lacksTarget } from "../../targets/target.ts";
import { conversation, newToken } from "./conversation.ts";
import { type ShellLine, startShellLine } from "./shell-line.ts";

const skip = lacks("socat", "busybox", "zsh", "fish", "tcsh", "mksh");

/** Types at the board, past labgear. @returns what comes, up to the pattern */
async function typed(line: ShellLine, text: string, pattern: RegExp): Promise<string> {
  const signal = AbortSignal.timeout(40_000);
  await line.write(Buffer.from(text), signal);
  let came = "";
  while (!pattern.test(came)) {
    const bytes = await line.read(30_000, signal);
    assert.ok(bytes.length > 0, `no ${pattern}: ${JSON.stringify(line.last.slice(-300))}`);
    came += Buffer.from(bytes).toString("latin1");
  }
  return came;
}

for (const [name, command, prompt] of [
  ["bash", () => "/bin/bash --norc -i", "PS1='mine> '"],
  ["dash", () => "/bin/dash -i", "PS1='mine> '"],
  ["busybox ash", () => `${part("busybox")} ash -i`, "PS1='mine> '"],
  ["zsh", () => `${part("zsh")} -f -i`, "PS1='mine> '"],
  ["fish", () => `${part("fish")} -i`, "function fish_prompt; printf 'mine> '; end"],
  ["tcsh", () => `${part("tcsh")} -f -i`, "set prompt='mine> '"],
  ["mksh", () => `${part("mksh")} -i`, "PS1='mine> '"],
] as const) {
  test(`${name}: the shell, its prompt and its terminal are as they were`, { skip }, async () => {
    await using home = await temporaryFolder();
    await using line = startShellLine(command(), { env: { HOME: home.path, TERM: "vt100" } });
    await typed(
      line,
      `${prompt}\ncd ${home.path}\nstty rows 33 cols 111\n`,
      /mine> [\s\S]*mine> [\s\S]*mine> /,
    );
    const known = newKnownBoard();
    const newOne = () => new LinuxConsole({ token: newToken, known });
    const talk = conversation(line);
    assert.equal(newOne().leave(), undefined);
    let folder = "";
    // Once more from another console, and once after somebody has ended our program's shell.
    for (let round = 0; round < 3; round++) {
      const console = newOne();
      await talk.hold(console.enter(60_000));
      await talk.hold(console.run('echo "$0:$PWD"; env | grep -c ^lg; :', { timeoutMs: 30_000 }));
      const [path = "", cwd, variables] = talk.output.toString().trim().split(/[:\n]/);
      assert.deepEqual([cwd, variables], [home.path, "0"]);
      folder = path.split("/").slice(0, 3).join("/");
      if (round === 1) known.shell = undefined;
    }
    assert.ok(existsSync(folder), folder);
    const leave = newOne().leave();
    assert.ok(leave);
    await talk.hold(leave);
    assert.equal(existsSync(folder), false);
    assert.equal(newOne().leave(), undefined);
    // The user's own shell has the terminal, with its folder and its prompt.
    const size = await typed(line, "stty size\n", /33 111\s[\s\S]*mine> /);
    assert.doesNotMatch(size, /lg-/);
    await typed(line, "pwd\n", new RegExp(`${home.path}[^/]*mine> `));
    // And labgear finds it again.
    const console = newOne();
    await talk.hold(console.enter(60_000));
    await talk.hold(console.run("echo again", { timeoutMs: 30_000 }));
    assert.equal(talk.output.toString(), "again\n");
  });
}

test("a shell without env has its own prompt back", { skip }, async () => {
  await using folder = await temporaryFolder();
  const names = "cat dd echo mkdir mv printf rm seq sleep stty tr tty wc md5sum od base64 id".split(" ");
  for (const name of names) symlinkSync(part("busybox"), join(folder.path, name));
  symlinkSync("/bin/dash", join(folder.path, "sh"));
  await using line = startShellLine("/bin/dash -i", { env: { PATH: folder.path } });
  await typed(line, "PS1='mine> '\nstty rows 33 cols 111\n", /mine> [\s\S]*mine> /);
  const known = newKnownBoard();
  const console = new LinuxConsole({ token: newToken, known });
  const talk = conversation(line);
  for (let round = 0; round < 2; round++) {
    await talk.hold(console.enter(60_000));
    known.shell = undefined;
  }
  await talk.hold(console.enter(60_000));
  const leave = console.leave();
  assert.ok(leave);
  await talk.hold(leave);
  await typed(line, "stty size\n", /33 111\r\nmine> $/);
});

test("shells don't pile up on the board, however often it is entered", { skip }, async () => {
  await using line = startShellLine("/bin/bash --norc -i");
  const known = newKnownBoard();
  const talk = conversation(line);
  const deep: string[] = [];
  for (let round = 0; round < 3; round++) {
    const console = new LinuxConsole({ token: newToken, known });
    known.shell = undefined;
    await talk.hold(console.enter(60_000));
    await talk.hold(
      console.run(
        "p=$$; n=0; while [ $p -gt 1 ]; do n=$((n+1)); while read -r k v; do [ $k = PPid: ] && p=$v; done </proc/$p/status; done; echo $n",
        { timeoutMs: 30_000 },
      ),
    );
    deep.push(talk.output.toString());
  }
  assert.equal(deep[2], deep[0]);
});

test("a dialogue that was cut off while the shell was prepared is taken back, too", { skip }, async () => {
  await using line = startShellLine("/bin/bash --norc -i", { rate: 4000 });
  // An earlier test may have had the same terminal.
  await typed(line, "rm -rf /tmp/.lg-$(tty|tr -dc a-zA-Z0-9);PS1='mine> '\n", /\n[^\n]*mine> $/);
  const known = newKnownBoard();
  const console = new LinuxConsole({ token: newToken, known });
  const talk = conversation(line);
  const stop = new AbortController();
  const entering = assert.rejects(talk.hold(console.enter(60_000), stop.signal));
  // In the middle of the upload.
  const timer = setInterval(() => line.last.includes("stty -g") && stop.abort(), 5);
  try {
    await entering;
  } finally {
    clearInterval(timer);
  }
  const before = readdirSync("/tmp").filter((name) => name.startsWith(".lg-"));
  const leave = console.leave();
  assert.ok(leave);
  await talk.hold(leave);
  const after = readdirSync("/tmp").filter((name) => name.startsWith(".lg-"));
  // Folders of other tests' lines may go meanwhile, too.
  assert.ok(before.some((name) => !after.includes(name)));
  await typed(line, "\n", /\n[^\n]*mine> $/);
});

test("a device: paused, reserved by a person, and when the agent ends", {
  skip: skip || lacksTarget("busybox") || lacksMachine(),
}, async () => {
  await using folder = await temporaryFolder();
  const passwordFile = join(folder.path, "password");
  writeFileSync(passwordFile, machineLogin.password);
  await using board = await startBadBoard({ seed: 1, faults: {} });
  const config: DeviceConfig = {
    name: "board",
    classes: ["board"],
    port: { address: { kind: "tty", match: { path: board.tty } }, baud: 115_200, flow: "none" },
    console: "linux",
    login: { user: machineLogin.user, passwordFile },
    power: { timeoutMs: 30_000 },
    health: {},
    quarantineAfter: 3,
    bootTimeoutMs: 60_000,
    bootSilenceMs: 3000,
  };
  using discovery = new Discovery();
  const device = openDevice(config, {
    discovery,
    calls: loadSystemCalls(),
    command: async () => ({ code: 0, output: "" }),
    health: { failures: 0 },
    saveHealth: () => {},
  });
  const until = async (kind: string) => {
    while (device.state.kind !== kind) await once(device, "changed", { signal: AbortSignal.timeout(60_000) });
  };
  const loginAsksAtTheEnd = () => /login: $/.test(board.truth.wrote.toString("latin1"));
  await until("ready");
  assert.equal(loginAsksAtTheEnd(), false);
  device.pause("by a test");
  await until("paused");
  assert.ok(loginAsksAtTheEnd());
  device.resume();
  await until("ready");
  const reservation = await device.reserve("a person", undefined, AbortSignal.timeout(60_000));
  assert.ok(loginAsksAtTheEnd());
  reservation.release({ kind: "by-hand" });
  await until("proving");
  await until("ready");
  await device[Symbol.asyncDispose]();
  assert.ok(loginAsksAtTheEnd());
});
