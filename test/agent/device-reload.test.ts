/** Reloads that change a device or take it away while its build runs, and power commands that hang. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { JobServer } from "#/gearman/server/server.ts";
import { TestAgent } from "../support/agent.ts";
import { becomes, build, devices, resultOf, startNetworkBoard } from "../support/boards.ts";
import type { Watched } from "../support/clients.ts";
import { processesMarked } from "../support/processes.ts";

/** @param device its entry; absent: the box has none, and no job for it */
function yaml(device?: string): string {
  const job = 'long: { nodes: [mcu], steps: [{ expect: "the end", timeout: 5m }] }';
  return `
name: box7
builds: { min-free: 1MiB }
jobs: { pass: { run: "true" }${device === undefined ? "" : `, ${job}`} }
devices: ${device === undefined ? "{}" : `{ mcu-1: ${device} }`}
`;
}

/** A build runs on a device that reloads then change. */
async function startCase() {
  await using resources = new AsyncDisposableStack();
  const board = resources.use(await startNetworkBoard());
  const server = resources.use(new JobServer());
  const { port } = await server.listen({ port: 0 });
  const device = (quarantineAfter: number) =>
    `{ classes: [mcu], port: "tcp://127.0.0.1:${board.port}", console: raw, quarantine-after: ${quarantineAfter} }`;
  const agent = resources.use(await TestAgent.start({ yaml: yaml(device(3)), ports: [port] }));
  await becomes(agent, "mcu-1", "ready");
  const running: Watched = await build(port, "long:mcu", "u-1");
  await becomes(agent, "mcu-1", "busy");
  const [head] = (await readFile(agent.config, "utf8")).split("\nname: box7");
  const reload = async (entry?: string) => {
    await writeFile(agent.config, `${head}${yaml(entry)}`);
    const { exitCode, stderr } = await agent.command("reload");
    assert.equal(exitCode, 0, stderr);
  };
  const owned = resources.move();
  return {
    ...{ agent, board, port, running, device, reload },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test("changed by several reloads while its build runs, a device comes up once, as the last one has it", async () => {
  await using scene = await startCase();
  const { agent, board, running, device, reload, port } = scene;
  await reload(device(4));
  await Promise.all([agent.command("reload"), agent.command("reload")]);
  await reload(device(5));
  await reload();
  await reload(device(6));
  assert.deepEqual(await devices(agent), [], "it comes back after its build");
  board.say("the end\n");
  assert.equal(await resultOf(running), "SUCCESS");
  await board.connectedTimes(2);
  const next = await build(port, "long:mcu", "u-2");
  await becomes(agent, "mcu-1", "busy", 2);
  assert.equal(board.connected.size, 1);
  assert.equal(board.connections, 2);
  const { nodes } = await agent.status();
  assert.deepEqual(
    nodes.map(({ name }) => name),
    ["box7", "mcu-1"],
  );
  board.say("the end\n");
  assert.equal(await resultOf(next), "SUCCESS");
});

test("an agent that goes down doesn't reopen a device that a reload has changed", async () => {
  await using scene = await startCase();
  const { agent, board, running, device, reload } = scene;
  await reload(device(4));
  agent.child.kill("SIGTERM");
  await agent.logged("once more stops them");
  board.say("the end\n");
  assert.equal(await resultOf(running), "SUCCESS");
  assert.equal(await agent.ended(), 0);
  assert.equal(board.connections <= 2, true);
  assert.equal((await agent.record("long", 1)).result, "SUCCESS");
});

test("the last build of a device that a reload took away: a second SIGTERM stops it, and the agent ends", async () => {
  await using scene = await startCase();
  const { agent, running, reload } = scene;
  await reload();
  agent.child.kill("SIGTERM");
  await agent.logged("once more stops them");
  agent.child.kill("SIGTERM");
  assert.equal(await resultOf(running), undefined);
  assert.equal(await agent.ended(), 0);
});

test("a drain waits for the last build of a device that a reload took away", async () => {
  await using scene = await startCase();
  const { agent, board, running, reload } = scene;
  await reload();
  const drained = agent.command("drain", "--json");
  while ((await agent.status()).state === "running");
  assert.equal((await agent.status()).state, "draining");
  board.say("the end\n");
  assert.equal(await resultOf(running), "SUCCESS");
  assert.equal(JSON.parse((await drained).stdout).state, "drained");
});

test("restart --when-idle waits for the last build of a device that a reload took away", async () => {
  await using scene = await startCase();
  const { agent, board, running, reload } = scene;
  await reload();
  assert.equal((await agent.command("restart", "--when-idle")).exitCode, 0);
  assert.equal((await agent.status()).state, "draining");
  board.say("the end\n");
  assert.equal(await resultOf(running), "SUCCESS");
  await agent.logged("is up", 2);
});

test("a power command ends at its own limit, with all that it started", async () => {
  await using board = await startNetworkBoard();
  await using server = new JobServer();
  const { port } = await server.listen({ port: 0 });
  const marker = `marker-${process.pid}-${randomBytes(8).toString("hex")}`;
  const cycle = `MARKER=${marker}; export MARKER; sleep 1000 & setsid sleep 1000 & echo "the relay hangs"; sleep 1000`;
  const device = `{ classes: [mcu], port: "tcp://127.0.0.1:${board.port}", console: raw, power: { cycle: '${cycle}', timeout: 6s } }`;
  const job = "cycle: { nodes: [mcu], timeout: 5m, steps: [{ power: cycle }] }";
  await using agent = await TestAgent.start({
    yaml: `\nname: box7\nbuilds: { min-free: 1MiB }\njobs: { ${job} }\ndevices: { mcu-1: ${device} }\n`,
    ports: [port],
  });
  await becomes(agent, "mcu-1", "ready");
  // Infrastructure: without a result.
  assert.equal(await resultOf(await build(port, "cycle:mcu", "u-1")), undefined);
  const { reason } = JSON.parse((await agent.file("cycle", 1, "build.json")).toString()).ending;
  assert.match(reason, /power-failed: power\.cycle didn't end in time: the relay hangs/);
  // The device restarts its board after the build, by the same command.
  await becomes(agent, "mcu-1", "ready", 2);
  assert.deepEqual(processesMarked(marker), []);
});
