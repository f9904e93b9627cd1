/** Builds on a real Linux with a login on its serial console, through gearmand, asked for by the board's class. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { becomes, boardYaml, build, devices, passwordFile, resultOf } from "../support/boards.ts";
import { functions, gearman } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";
import { linuxUsers } from "../targets/initramfs.ts";
import { startLinux } from "../targets/linux.ts";
import { lacksTarget, type Target } from "../targets/target.ts";

const skip = lacks("gearmand", "gearadmin") || lacksTarget("qemuArm64", "linuxArm64", "busyboxArm64");

let folder: string;
let server: RunningServer;
let target: Target;
let agent: TestAgent;

const jobs = `
jobs:
  smoke:
    nodes: [qemu-arm64]
    shell: |
      uname -m
      echo "to the standard error" >&2
      printf 'no line end'
  exit-3: { nodes: [qemu-arm64], shell: "echo before; exit 3" }
  noisy:
    nodes: [qemu-arm64]
    shell: |
      while :; do echo "<1>labgear-noise: a line of the kernel, again and again" >/dev/kmsg; done &
      noise=$!
      seq 1 2000
      kill $noise
      exit 7
  sleeper: { nodes: [qemu-arm64], shell: "echo asleep; sleep 300" }
  reboots: { nodes: [qemu-arm64], shell: "echo going down; reboot; sleep 60" }
  panics: { nodes: [qemu-arm64], shell: "echo oops; echo c >/proc/sysrq-trigger; sleep 60" }
  through-a-reboot:
    nodes: [qemu-arm64]
    steps:
      - run: echo first >/tmp/mark
      - send: reboot
      - expect: "login: "
        timeout: 60s
      - { name: the mark is gone with the memory, run: test ! -e /tmp/mark }
      - run: uname -r
  files:
    nodes: [qemu-arm64]
    put: [{ from: data.bin, to: /tmp/data.bin }]
    shell: "sha256sum /tmp/data.bin | cut -d' ' -f1; cp /tmp/data.bin /tmp/back.bin"
    get: [{ from: /tmp/back.bin, to: out/back.bin }]
    artifacts: ["out/back.bin"]
`;

before(async () => {
  if (skip) return;
  folder = await mkdtemp(join(tmpdir(), "labgear-linux-"));
  server = await startGearmand();
  target = await startLinux();
  const password = await passwordFile(folder, linuxUsers.root.password);
  const device = `
devices:
  board-a:
    { classes: [qemu-arm64], ${boardYaml(target)}, console: linux,
      login: { user: root, password-file: ${password} }, health: { probe: uname -m, expect: aarch64 } }
`;
  agent = await TestAgent.start({ yaml: `name: box7${jobs}${device}`, ports: [server.port], folder });
  await becomes(agent, "board-a", "ready");
});

after(async () => {
  await agent?.[Symbol.asyncDispose]();
  await target?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
  if (folder) await rm(folder, { recursive: true, force: true });
});

test("a script's output is exact, and the board's class brought it there", { skip }, async () => {
  assert.equal((await functions(server.port)).get("build:smoke:qemu-arm64")?.workers, 1);
  assert.equal((await functions(server.port)).get("build:smoke:box7"), undefined);
  const watched = await build(server.port, "smoke:qemu-arm64", "u-smoke");
  assert.equal(await resultOf(watched), "SUCCESS");
  const number = Number((await watched.started).number);
  const log = await agent.file("smoke", number, "console.log");
  assert.equal(log.toString(), "aarch64\nto the standard error\nno line end");
  assert.equal((await agent.record("smoke", number)).device, "board-a");
});

test("the exit code is the script's", { skip }, async () => {
  const watched = await build(server.port, "exit-3:qemu-arm64", "u-exit");
  assert.equal(await resultOf(watched), "FAILURE");
  assert.equal(((await agent.record("exit-3", 1)).ending as { exitCode: number }).exitCode, 3);
});

test("kernel messages at full speed in the middle change neither the output nor the exit code", {
  skip,
}, async () => {
  const watched = await build(server.port, "noisy:qemu-arm64", "u-noisy");
  assert.equal(await resultOf(watched), "FAILURE");
  const lines = Array.from({ length: 2000 }, (_, i) => `${i + 1}\n`).join("");
  const wanted = `${lines}[labgear] the script ended with exit code 7\n`;
  assert.equal((await agent.file("noisy", 1, "console.log")).toString(), wanted);
  assert.equal(((await agent.record("noisy", 1)).ending as { exitCode: number }).exitCode, 7);
});

test("a stop has a result, and the board is proved before its functions return", { skip }, async () => {
  const watched = await build(server.port, "sleeper:qemu-arm64", "u-stopped");
  await watched.said("asleep");
  assert.equal((await gearman(server.port, ["-f", "stop:box7", "u-stopped"])).exitCode, 0);
  assert.equal(await resultOf(watched), "ABORTED");
  const next = await build(server.port, "smoke:qemu-arm64", "u-after-stop");
  assert.equal(await resultOf(next), "SUCCESS");
});

test("files go there and come back, byte for byte", { skip }, async () => {
  const workspace = join(agent.stateDir, "workspaces", "device-board-a", "files");
  await mkdir(workspace, { recursive: true });
  const bytes = Buffer.from(Array.from({ length: 40_000 }, (_, i) => (i * i) & 0xff));
  await writeFile(join(workspace, "data.bin"), bytes);
  const watched = await build(server.port, "files:qemu-arm64", "u-files");
  assert.equal(await resultOf(watched), "SUCCESS");
  assert.deepEqual(await agent.file("files", 1, "artifacts/out/back.bin"), bytes);
});

test("a reboot in the middle of a script has its name, and the board comes back by itself", {
  skip,
}, async () => {
  const watched = await build(server.port, "reboots:qemu-arm64", "u-reboots");
  assert.equal(await resultOf(watched), "FAILURE");
  assert.equal(((await agent.record("reboots", 1)).ending as { cause: string }).cause, "rebooted");
  assert.equal(await resultOf(await build(server.port, "smoke:qemu-arm64", "u-after-reboot")), "SUCCESS");
});

test("a job of steps goes through a reboot", { skip }, async () => {
  assert.equal(await resultOf(await build(server.port, "through-a-reboot:qemu-arm64", "u-steps")), "SUCCESS");
});

test("a panic has its name", { skip }, async () => {
  const watched = await build(server.port, "panics:qemu-arm64", "u-panics");
  assert.equal(await resultOf(watched), "FAILURE");
  assert.equal(((await agent.record("panics", 1)).ending as { cause: string }).cause, "panic");
  assert.equal(await resultOf(await build(server.port, "smoke:qemu-arm64", "u-after-panic")), "SUCCESS");
});

test("unplugged in the middle: no result, the functions go, and come back", { skip }, async () => {
  const watched = await build(server.port, "sleeper:qemu-arm64", "u-unplugged");
  await watched.said("asleep");
  await target.unplug();
  assert.equal(await resultOf(watched), undefined);
  const number = Number((await watched.started).number);
  assert.equal(((await agent.record("sleeper", number)).ending as { cause: string }).cause, "unplugged");
  assert.equal((await devices(agent))[0]?.state, "absent");
  assert.equal((await functions(server.port)).get("build:smoke:qemu-arm64")?.workers ?? 0, 0);
  await target.plug();
  assert.equal(await resultOf(await build(server.port, "smoke:qemu-arm64", "u-plugged")), "SUCCESS");
});
