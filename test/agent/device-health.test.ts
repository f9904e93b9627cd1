/** A sick board: how it is taken out of service, kept so over a restart, and brought back; and a board in a person's hands. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { JobServer } from "#/gearman/server/server.ts";
import { TestAgent } from "../support/agent.ts";
import { becomes, boardYaml, build, devices, resultOf, startNetworkBoard } from "../support/boards.ts";
import { functions, gearman } from "../support/clients.ts";
import { lacks, part, partsEnv } from "../support/parts.ts";
import { processesMarked } from "../support/processes.ts";
import { startGearmand, temporaryFolder } from "../support/servers.ts";
import { startFirmware } from "../targets/firmware.ts";
import { lacksTarget, type Target } from "../targets/target.ts";

const skip = lacks("gearmand", "gearadmin", "gearman") || lacksTarget("qemuArm");

const main = new URL("../../src/main.ts", import.meta.url).pathname;

function yaml(target: Target, device = ""): string {
  return `
name: box7
jobs:
  good: { nodes: [mcu], steps: [{ send: v, enter: false }, { expect: "version 1.4" }] }
  sick: { nodes: [mcu], firmware: { flash: "exit 9", verdict: tap } }
  health: { nodes: [mcu-1], steps: [{ send: v, enter: false }, { expect: "version 1.4" }] }
  long: { nodes: [mcu], steps: [{ send: v, enter: false }, { expect: never, timeout: 5m }] }
  holds-port: { nodes: [mcu], run: 'echo held; while test -e "$LABGEAR_PORT"; do sleep 0.1; done' }
  opens-port: { nodes: [mcu], run: 'exec 3<>"$LABGEAR_PORT"; echo opened; exec sleep 300' }
  reads-port:
    nodes: [mcu]
    run: |
      echo "$LABGEAR_DEVICE at $LABGEAR_BAUD"
      exec 3<>"$LABGEAR_PORT"
      printf t >&3
      read -r line <&3
      while ! echo "$line" | grep temperature; do read -r line <&3; done
devices:
  mcu-1: { classes: [mcu], ${boardYaml(target)}, console: raw${device} }
`;
}

test("three failures in a row: quarantined, over a restart too, until a person resumes it", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using target = await startFirmware("menu");
  const folder = await mkdtemp(join(tmpdir(), "labgear-health-"));
  let since = "";
  try {
    {
      await using agent = await TestAgent.start({ yaml: yaml(target), ports: [server.port], folder });
      await becomes(agent, "mcu-1", "ready");
      assert.equal(await resultOf(await build(server.port, "good:mcu", "u-1")), "SUCCESS");
      for (const n of [1, 2, 3]) {
        assert.equal(await resultOf(await build(server.port, "sick:mcu", `u-sick-${n}`)), undefined);
      }
      await becomes(agent, "mcu-1", "quarantined");
      const [device] = await devices(agent);
      assert.deepEqual(device?.outage?.builds, ["sick#1", "sick#2", "sick#3"]);
      since = device.since;
      assert.match(device.reason ?? "", /3 infrastructure failures in a row, the last: flash-failed: /);
      assert.equal((await functions(server.port)).get("build:good:mcu")?.workers ?? 0, 0);
    }
    await using agent = await TestAgent.start({ yaml: yaml(target), ports: [server.port], folder });
    await becomes(agent, "mcu-1", "quarantined");
    assert.equal((await devices(agent))[0]?.since, since);
    assert.match(
      (await agent.command("status")).stdout,
      /out of order since .*, after sick#1 sick#2 sick#3\n/,
    );
    assert.equal((await agent.command("resume", "mcu-1")).exitCode, 0);
    await becomes(agent, "mcu-1", "ready");
    assert.equal(await resultOf(await build(server.port, "good:mcu", "u-2")), "SUCCESS");
    assert.equal((await devices(agent))[0]?.failures, 0);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a failure in between doesn't count, and a passed health build ends the quarantine", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using target = await startFirmware("menu");
  const device = ", quarantine-after: 2, health: { job: health }";
  await using agent = await TestAgent.start({ yaml: yaml(target, device), ports: [server.port] });
  await becomes(agent, "mcu-1", "ready");
  for (const [n, job] of ["sick", "good", "sick"].entries()) {
    await resultOf(await build(server.port, `${job}:mcu`, `u-a${n}`));
  }
  assert.notEqual((await devices(agent))[0]?.state, "quarantined");
  await resultOf(await build(server.port, "sick:mcu", "u-a4"));
  await becomes(agent, "mcu-1", "quarantined");
  assert.equal((await functions(server.port)).get("build:good:mcu")?.workers ?? 0, 0);
  assert.equal(await resultOf(await build(server.port, "health:mcu-1", "u-health")), "SUCCESS");
  assert.equal(await resultOf(await build(server.port, "good:mcu", "u-a5")), "SUCCESS");
});

test("paused: a person writes, anybody watches, and builds wait; files need a console that carries them", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using target = await startFirmware("menu");
  await using agent = await TestAgent.start({ yaml: yaml(target), ports: [server.port] });
  await becomes(agent, "mcu-1", "ready");
  const refused = await agent.command("console", "mcu-1", "--write");
  assert.match(refused.stderr, /mcu-1 is ready: pause it before writing/);
  assert.equal((await agent.command("pause", "mcu-1", "--reason", "mine")).exitCode, 0);
  await becomes(agent, "mcu-1", "paused");
  const { outage } = (await devices(agent))[0] ?? {};
  assert.equal(outage?.who, process.env.SUDO_USER || userInfo().username);
  const waiting = await build(server.port, "good:mcu", "u-waits");
  await using watcher = startConsole(agent, []);
  await using writer = startConsole(agent, ["--write"]);
  writer.child.stdin?.write("t");
  await Promise.all([writer.said("temperature"), watcher.said("temperature")]);
  const second = await agent.command("console", "mcu-1", "--write");
  assert.match(second.stderr, /mcu-1 is in use by labgear console --write/);
  const put = () => agent.command("console", "mcu-1", "--put", "/etc/hostname:/tmp/x");
  assert.match((await put()).stderr, /mcu-1 is in use by labgear console --write/);
  await writer[Symbol.asyncDispose]();
  assert.equal(waiting.events.length, 0);
  assert.equal((await agent.command("resume", "mcu-1")).exitCode, 0);
  assert.equal(await resultOf(waiting), "SUCCESS");
});

test("a job on the host has the port to itself, and the agent takes it back", { skip }, async () => {
  await using server = await startGearmand();
  await using target = await startFirmware("menu");
  await using agent = await TestAgent.start({ yaml: yaml(target), ports: [server.port] });
  await becomes(agent, "mcu-1", "ready");
  const watched = await build(server.port, "reads-port:mcu", "u-port");
  assert.equal(await resultOf(watched), "SUCCESS");
  assert.match((await agent.file("reads-port", 1, "console.log")).toString(), /^mcu-1 at 115200\n/);
  assert.equal(await resultOf(await build(server.port, "good:mcu", "u-after")), "SUCCESS");
});

test("a board that is unplugged while a job on the host has its port ends the build without a result", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using target = await startFirmware("menu");
  await using agent = await TestAgent.start({ yaml: yaml(target), ports: [server.port] });
  await becomes(agent, "mcu-1", "ready");
  const watched = await build(server.port, "holds-port:mcu", "u-holds");
  await watched.said("held");
  await target.unplug();
  assert.equal(await resultOf(watched), undefined);
  assert.equal(((await agent.record("holds-port", 1)).ending as { cause: string }).cause, "unplugged");
  await target.plug();
  assert.equal(await resultOf(await build(server.port, "good:mcu", "u-back")), "SUCCESS");
});

test("killed while a job on the host has the port: the next agent ends the job, and has the port alone", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using target = await startFirmware("menu");
  const folder = await mkdtemp(join(tmpdir(), "labgear-health-"));
  try {
    await using agent = await TestAgent.start({ yaml: yaml(target), ports: [server.port], folder });
    await becomes(agent, "mcu-1", "ready");
    const watched = await build(server.port, "opens-port:mcu", "u-opens");
    await watched.said("opened");
    const held = processesMarked(join(folder, "state", "workspaces"));
    assert.notDeepEqual(held, []);
    await agent.end("SIGKILL");
    await using next = await TestAgent.start({ yaml: yaml(target), ports: [server.port], folder });
    await becomes(next, "mcu-1", "ready");
    // The job server has handed the job out again: what runs now is another.
    const now = processesMarked(join(folder, "state", "workspaces"));
    assert.deepEqual(
      held.filter((process) => now.includes(process)),
      [],
    );
    await gearman(server.port, ["-f", "stop:box7", "u-opens"]);
    await resultOf(watched);
    assert.equal(await resultOf(await build(server.port, "good:mcu", "u-next")), "SUCCESS");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("picocom is refused on a busy port; after kill -9 nothing stays locked, and the board serves again", {
  skip: skip || lacks("picocom"),
}, async () => {
  await using server = await startGearmand();
  await using target = await startFirmware("menu");
  const folder = await mkdtemp(join(tmpdir(), "labgear-health-"));
  try {
    await using agent = await TestAgent.start({ yaml: yaml(target), ports: [server.port], folder });
    await becomes(agent, "mcu-1", "ready");
    const watched = await build(server.port, "long:mcu", "u-long");
    await watched.said("version 1.4");
    const { code, output } = await picocom(target.tty);
    assert.notEqual(code, 0);
    assert.match(output, /cannot (lock|open)|busy/i);
    await agent.end("SIGKILL");
    await using next = await TestAgent.start({ yaml: yaml(target), ports: [server.port], folder });
    await becomes(next, "mcu-1", "ready");
    assert.equal((await next.record("long", 1)).ending !== undefined, true);
    await gearman(server.port, ["-f", "stop:box7", "u-long"]);
    await resultOf(watched);
    assert.equal(await resultOf(await build(server.port, "good:mcu", "u-next")), "SUCCESS");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

async function picocom(tty: string): Promise<{ code: number | null; output: string }> {
  const child = spawn(part("picocom"), ["-b", "115200", tty], {
    env: partsEnv,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.on("data", (text) => {
    output += text;
  });
  child.stderr.on("data", (text) => {
    output += text;
  });
  const [code] = await once(child, "close", { signal: AbortSignal.timeout(60_000) });
  return { code, output };
}

/** `labgear console` in a process of its own. */
function startConsole(agent: TestAgent, args: readonly string[]) {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", main, "console", "mcu-1", ...args, "--control", agent.control],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (more) => {
    text += more;
    child.emit("text");
  });
  return {
    child,
    async said(wanted: string): Promise<void> {
      const signal = AbortSignal.timeout(60_000);
      while (!text.includes(wanted)) await once(child, "text", { signal });
    },
    async [Symbol.asyncDispose](): Promise<void> {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const closed = once(child, "close");
      child.kill("SIGTERM");
      await closed;
    },
  };
}

/** An agent with a board behind a console server. */
async function startNetworkAgent(boardPort: number, serverPort: number, folder: string): Promise<TestAgent> {
  const yaml = `
name: box7
jobs: {}
devices: { mcu-1: { classes: [mcu], port: "tcp://127.0.0.1:${boardPort}", console: raw } }
`;
  return TestAgent.start({ yaml, ports: [serverPort], folder });
}

test("a file on its way to a board when the agent is killed is gone after the next start", async () => {
  await using board = await startNetworkBoard();
  await using server = new JobServer();
  await using folder = await temporaryFolder();
  const { port } = await server.listen({ port: 0 });
  await using agent = await startNetworkAgent(board.port, port, folder.path);
  const files = async () =>
    (await readdir(agent.stateDir, { recursive: true })).filter((name) => name.includes("transfer"));
  const put = request({
    socketPath: agent.control,
    method: "POST",
    path: "/devices/put?device=mcu-1&to=x",
    headers: { "content-type": "application/octet-stream" },
  });
  put.on("error", () => {}).write("the first half");
  while (!(await files()).some((name) => name.endsWith("/file")));
  await agent.end("SIGKILL");
  await using next = await startNetworkAgent(board.port, port, folder.path);
  assert.deepEqual(await files(), []);
  assert.equal((await next.status()).state, "running");
});

test("a port that goes away counts as a loss, on the metrics page too", async () => {
  await using board = await startNetworkBoard();
  await using server = new JobServer();
  await using folder = await temporaryFolder();
  const { port } = await server.listen({ port: 0 });
  await using agent = await startNetworkAgent(board.port, port, folder.path);
  await becomes(agent, "mcu-1", "ready");
  for (const socket of board.connected) socket.destroy();
  await becomes(agent, "mcu-1", "ready", 2);
  const [device] = await devices(agent);
  assert.equal(device?.counters.losses, 1);
  const { url } = await agent.logged("the pages are at");
  const metrics = await (await fetch(`${url}/metrics`)).text();
  assert.match(metrics, /^labgear_serial_losses_total\{device="mcu-1"\} 1$/m);
});
