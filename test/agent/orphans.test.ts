/** Builds whose job server was lost: they go on, and no other build waits for them while an executor is idle. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { labgear, TestAgent } from "../support/agent.ts";
import { object, submit, type Watched } from "../support/clients.ts";
import { fetchRange, submitWith } from "../support/exchange.ts";
import { makeGate, openGate, waitAtGate } from "../support/gate.ts";
import { lacks } from "../support/parts.ts";
import { bounded, startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand");

/** `gate` runs until the test opens it. */
const yaml = (executors: number) => `
name: box7
orphan-timeout: 1h
host: { classes: [lab1], executors: ${executors} }
builds: { min-free: 1MiB }
jobs:
  gate: { run: "${waitAtGate}" }
  quick: { run: "echo executor $EXECUTOR_NUMBER" }
`;

async function startAgent(ports: number[], executors: number): Promise<TestAgent> {
  const agent = await TestAgent.start({ yaml: yaml(executors), ports });
  await makeGate(agent.stateDir);
  return agent;
}

const quick = (port: number, unique: string) => submit(port, { function: "build:quick", unique, data: "{}" });

const last = async (build: Watched) => object((await bounded(build.ended)).at(-1));

/** Starts `gate` on a server that then dies. */
async function orphan(agent: TestAgent, server: AsyncDisposable & { port: number }): Promise<void> {
  const build = await submit(server.port, { function: "build:gate", unique: "u-orphan", data: "{}" });
  await build.started;
  build.ended.catch(() => {});
  await server[Symbol.asyncDispose]();
  await agent.logged((line) => line.level === 40 && "executor" in line && "code" in line);
}

test("builds run on the idle executor, whichever connection takes them", { skip }, async () => {
  await using server = await startGearmand();
  await using other = await startGearmand();
  await using agent = await startAgent([server.port, other.port], 2);
  await orphan(agent, server);
  for (let count = 1; count <= 12; count++) {
    const build = await quick(other.port, `u-${count}`);
    assert.equal((await last(build)).result, "SUCCESS");
  }
  const [node] = (await agent.status()).nodes;
  const busy = node?.executors.filter(({ build }) => build).map(({ index }) => index);
  assert.equal(busy?.length, 1);
  const idle = busy?.[0] === 0 ? 1 : 0;
  for (let number = 1; number <= 12; number++) {
    assert.equal(`${await agent.file("quick", number, "console.log")}`, `executor ${idle}\n`);
    assert.equal((await agent.record("quick", number)).executor, idle);
  }
  await using _ = await openGate(agent.stateDir);
  await agent.logged("gate#1 ended");
});

test("a client that follows by fetch: keeps its build, which nobody else does", { skip }, async () => {
  await using server = await startGearmand();
  await using other = await startGearmand();
  const config = yaml(1).replace("1h", "5s");
  await using agent = await TestAgent.start({ yaml: config, ports: [server.port, other.port] });
  await makeGate(agent.stateDir);
  const build = await submitWith(server.port, "build:gate", []);
  await build.started;
  build.ended.catch(() => {});
  const lost = performance.now();
  await server[Symbol.asyncDispose]();
  const followed = async () => {
    await fetchRange(other, "box7", { uuid: build.uuid }, "record", { length: 1, key: build.key });
    return performance.now() - lost > 8000;
  };
  while (!(await followed()));
  assert.equal((await agent.status()).nodes[0]?.executors[0]?.build?.job, "gate");
  const end = await agent.logged((line) => line.msg.startsWith("gate#1 ended"));
  assert.match(end.msg, /its job server was lost/);
});

test("what waits is shown, and a stop ends it at once; the next one runs when the orphan has ended", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using other = await startGearmand();
  await using agent = await startAgent([server.port, other.port], 1);
  await orphan(agent, server);
  const stopped = await quick(other.port, "u-stopped");
  await stopped.started;
  const [node] = (await agent.status()).nodes;
  assert.deepEqual(
    node?.waiting.map(({ job, number, phase }) => [job, number, phase]),
    [["quick", 1, "assigned"]],
  );
  assert.match((await agent.command("status")).stdout, /^ {4}waiting +quick#1 waits for an executor$/m);
  assert.match((await agent.command("builds", "quick")).stdout, /^quick#1 +waiting /m);
  const stop = await labgear(["stop", "box7", "quick#1", "--server", `127.0.0.1:${other.port}`]);
  assert.equal(stop.exitCode, 0, stop.stderr);
  assert.equal(object((await bounded(stopped.ended)).at(-2)).result, "ABORTED");
  assert.deepEqual((await agent.status()).nodes[0]?.waiting, []);
  const next = await quick(other.port, "u-next");
  await next.started;
  assert.equal((await agent.status()).nodes[0]?.executors[0]?.build?.job, "gate");
  await using _ = await openGate(agent.stateDir);
  assert.equal((await last(next)).result, "SUCCESS");
});

test("executors that a reload removes and adds: what waits gets one of those that are left", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using other = await startGearmand();
  await using agent = await startAgent([server.port, other.port], 1);
  await orphan(agent, server);
  const waiting = await quick(other.port, "u-waits");
  await waiting.started;
  const config = `servers: ["127.0.0.1:${other.port}"]\nhttp: { listen: "127.0.0.1:0" }\n${yaml(2)}`;
  await writeFile(agent.config, config);
  assert.equal((await agent.command("reload")).exitCode, 0);
  assert.equal((await last(waiting)).result, "SUCCESS");
  await using _ = await openGate(agent.stateDir);
  await agent.logged("gate#1 ended");
});
