/** How soon the ending of a stopped build goes out. */
import assert from "node:assert/strict";
import { access, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { Client } from "#/gearman/client/client.ts";
import { JobServer } from "#/gearman/server/server.ts";
import { TestAgent } from "../support/agent.ts";
import { becomes, startNetworkBoard } from "../support/boards.ts";
import { object, submit, type Watched } from "../support/clients.ts";
import { bounded } from "../support/servers.ts";

const yaml = `
name: box7
builds: { min-free: 1MiB }
jobs:
  large:
    artifacts: ["*.bin"]
    grace: 1s
    run: |
      for file in 1 2 3 4 5 6 7 8; do truncate -s 120M $file.bin; done
      echo written
      exec sleep 300
  wait: { run: "echo begun; exec sleep 300", grace: 1s }
  change: { run: "true", checkout: true }
`;

/** A job server; disposing twice is as good as once. */
async function startServer(): Promise<AsyncDisposable & { readonly port: number }> {
  const stack = new AsyncDisposableStack();
  const { port } = await stack.use(new JobServer()).listen({ host: "127.0.0.1", port: 0 });
  return { port, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const run = (port: number, job: string, parameters: object = {}) =>
  submit(port, { function: `build:${job}`, unique: `u-${job}`, data: JSON.stringify(parameters) });

/** Stops a build by its uuid; resolves when the manager has answered. */
async function stop(port: number, { asked }: Watched): Promise<void> {
  await using client = await Client.connect({ host: "127.0.0.1", port });
  for await (const _ of await client.submit({ function: "stop:box7", data: `${asked.unique}` }));
}

test("a stop doesn't wait until 1 GB of artifacts are kept", async () => {
  await using server = await startServer();
  const { port } = server;
  await using agent = await TestAgent.start({ yaml, ports: [port] });
  const build = await run(port, "large", { LABGEAR_STREAM: "1" });
  await build.said("written");
  await stop(port, build);
  assert.equal(object((await bounded(build.ended)).at(-2)).result, "ABORTED");
  const { artifacts, warnings } = await agent.record("large", 1);
  assert.match(String(warnings), /some artifacts are missing/);
  assert.ok((artifacts as unknown[]).length < 8);
});

test("a build that waits behind a stranded one ends as soon as it is stopped, with its workspace as it was", async () => {
  await using lost = await startServer();
  await using server = await startServer();
  const { port } = server;
  await using agent = await TestAgent.start({ yaml, ports: [lost.port, port] });
  const stranded = await run(lost.port, "wait", { LABGEAR_STREAM: "1" });
  await stranded.said("begun");
  const workspace = join(agent.stateDir, "workspaces/0/change");
  await mkdir(workspace, { recursive: true });
  await writeFile(join(workspace, "kept"), "");
  await lost[Symbol.asyncDispose]();
  await agent.logged((line) => line.level === 40 && line.executor === 0 && "code" in line);
  const waiting = await run(port, "change", { ZUUL_URL: "file:///nowhere", ZUUL_PROJECT: "p" });
  await waiting.started;
  await stop(port, waiting);
  assert.equal(object((await bounded(waiting.ended)).at(-2)).result, "ABORTED");
  const [node] = (await agent.status()).nodes;
  assert.equal(node?.executors[0]?.build?.job, "wait", "the stranded one still runs");
  const { ending } = await agent.record("change", 1);
  assert.deepEqual(ending, { kind: "stopped", reason: "stopped from afar" });
  await access(join(workspace, "kept"));
});

test("a stop doesn't wait for a board whose port is away", async () => {
  await using server = await startServer();
  const { port } = server;
  await using board = await startNetworkBoard();
  const device = `{ classes: [mcu], port: "tcp://127.0.0.1:${board.port}", console: raw }`;
  const job = '{ nodes: [mcu], run: "echo begun; exec sleep 300", grace: 1s }';
  await using agent = await TestAgent.start({
    yaml: `name: box7\nbuilds: { min-free: 1MiB }\njobs: { lent: ${job} }\ndevices: { mcu-1: ${device} }\n`,
    ports: [port],
  });
  await becomes(agent, "mcu-1", "ready");
  const build = await run(port, "lent", { LABGEAR_STREAM: "1" });
  await build.said("begun");
  await board.refuse();
  const { length } = agent.log;
  await stop(port, build);
  assert.equal(object((await bounded(build.ended)).at(-2)).result, "ABORTED");
  const states = agent.log.slice(length).map(({ state }) => state);
  assert.ok(!states.includes("absent"), "its port may still come back");
  await board.accept();
  await becomes(agent, "mcu-1", "ready", 2);
});
