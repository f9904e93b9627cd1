/** The line to the job server is cut, or the server itself dies: no build ends by it, runs twice, or is forgotten. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { execa } from "execa";
import { TestAgent } from "../support/agent.ts";
import { audit, witness } from "../support/audit.ts";
import { functions, object, submit, type Watched } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { type Recorder, startRecorder } from "../support/recorder.ts";
import { bounded, startGearmand, temporaryFolder } from "../support/servers.ts";

const skip = lacks("gearmand", "gearadmin");

/** `gate` runs until the test opens it: it reads from a FIFO in the state directory. */
const yaml = (executors: number, orphanTimeout = "1h") => `
name: box7
orphan-timeout: ${orphanTimeout}
host: { classes: [lab1], executors: ${executors} }
jobs:
  gate:
    grace: 0s
    run: |
      ${witness.replaceAll("\n", "\n      ")}
      echo begun
      read line < ../../../gate
      echo over
  gates:
    run: |
      ${witness.replaceAll("\n", "\n      ")}
      echo middle > ../../../passed
      read line < ../../../gate
  quick: { run: "echo quick" }
`;

async function startAgent(ports: number[], executors: number, orphanTimeout?: string): Promise<TestAgent> {
  const agent = await TestAgent.start({ yaml: yaml(executors, orphanTimeout), ports });
  await execa("mkfifo", [join(agent.stateDir, "gate"), join(agent.stateDir, "passed")]);
  return agent;
}

/** Opening a FIFO for writing waits for its reader, so this can't come too early. */
const openGate = (agent: TestAgent) => writeFile(join(agent.stateDir, "gate"), "go\n");

/** Resolves when the job has come as far as to say so on its FIFO. */
async function passed(agent: TestAgent): Promise<void> {
  assert.equal((await bounded(readFile(join(agent.stateDir, "passed")))).toString(), "middle\n");
}

/** The connection that the last job was handed out on. */
const busyConnection = ({ packets }: Recorder) =>
  packets.findLast(({ packet }) => packet.type === "JOB_ASSIGN_UNIQ")?.connection ?? 0;

const ended = (lines: readonly string[]) => lines.some((line) => line.startsWith("worker WORK_COMPLETE"));

/** One ending, the build's own, and no second build. */
async function assertOneSuccess(build: Watched, agent: TestAgent): Promise<void> {
  const ends = (await build.ended).filter(({ type }) => type === "complete" || type === "fail");
  assert.deepEqual(
    ends.map(({ type }) => type),
    ["complete"],
  );
  assert.equal(object(ends[0]).result, "SUCCESS");
  assert.equal(object(ends[0]).number, 1);
  assert.equal((await agent.file("gate", 1, "console.log")).toString(), "begun\nover\n");
  await assert.rejects(agent.record("gate", 2), { code: "ENOENT" });
  await audit(agent, { builds: [build] });
}

for (const executors of [1, 3]) {
  test(`the line is cut three times during one build, ${executors} executors`, { skip }, async () => {
    await using server = await startGearmand();
    await using line = await startRecorder(server);
    await using agent = await startAgent([line.port], executors);
    const build = await submit(server.port, { function: "build:gate", unique: "u-cut", data: "{}" });
    await build.started;
    for (let cut = 1; cut <= 3; cut++) {
      line.cut();
      await agent.logged("handed out again", cut);
      await build.dataPackets(1 + cut);
    }
    await openGate(agent);
    await assertOneSuccess(build, agent);
    const numbers = build.events.filter(({ type }) => type === "data").map((event) => object(event).number);
    assert.deepEqual(numbers, [1, 1, 1, 1, 1], "the first data four times, and the last");
  });
}

test("three cuts and a black hole during one build", { skip }, async () => {
  await using server = await startGearmand();
  await using line = await startRecorder(server);
  await using agent = await startAgent([line.port], 2);
  const build = await submit(server.port, { function: "build:gates", unique: "u-gates", data: "{}" });
  await build.started;
  for (let cut = 1; cut <= 2; cut++) {
    line.cut();
    await agent.logged("handed out again", cut);
  }
  line.silence();
  await passed(agent);
  line.resume();
  line.cut();
  await agent.logged("handed out again", 3);
  await openGate(agent);
  assert.equal(object((await build.ended).at(-1)).result, "SUCCESS");
  assert.equal(object(build.events.at(-1)).number, 1);
  await audit(agent, { builds: [build] });
});

test("the build ends in a black hole, which ends", { skip }, async () => {
  await using server = await startGearmand();
  await using line = await startRecorder(server);
  await using agent = await startAgent([line.port], 1);
  const build = await submit(server.port, { function: "build:gate", unique: "u-hole", data: "{}" });
  await build.started;
  line.silence();
  await openGate(agent);
  await line.until(ended);
  line.resume();
  await assertOneSuccess(build, agent);
});

test("the build ends in a black hole, and then the line is cut", { skip }, async () => {
  await using server = await startGearmand();
  await using line = await startRecorder(server);
  await using agent = await startAgent([line.port], 1);
  const build = await submit(server.port, { function: "build:gate", unique: "u-hole", data: "{}" });
  await build.started;
  line.silence();
  await openGate(agent);
  await line.until(ended);
  line.cut();
  await assertOneSuccess(build, agent);
  await agent.logged("its ending is sent");
});

test("the server alone notices the end of a line, before the build ends: another executor gets the job again", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using line = await startRecorder(server);
  await using agent = await startAgent([line.port], 2);
  const build = await submit(server.port, { function: "build:gate", unique: "u-half", data: "{}" });
  await build.started;
  const connection = busyConnection(line);
  line.silence(connection);
  line.dropServerEnd(connection);
  await agent.logged("handed out again");
  await openGate(agent);
  await assertOneSuccess(build, agent);
  line.cut();
  assert.equal(await agent.end("SIGTERM"), 0);
  assert.equal((await agent.record("gate", 1)).undelivered, undefined);
  await audit(agent, { builds: [build] });
});

test("the server alone notices the end of a line, after the build ended: the ending is sent again", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using line = await startRecorder(server);
  await using agent = await startAgent([line.port], 2);
  const build = await submit(server.port, { function: "build:gate", unique: "u-half", data: "{}" });
  await build.started;
  const connection = busyConnection(line);
  line.silence(connection);
  await openGate(agent);
  await line.until(ended);
  line.dropServerEnd(connection);
  await agent.logged("its ending is sent");
  await assertOneSuccess(build, agent);
  // Otherwise the way down waits for the silent line's answer, up to its bound.
  line.cut();
});

test("an ending that couldn't be delivered is sent when the job is handed out again", { skip }, async () => {
  await using server = await startGearmand();
  await using line = await startRecorder(server);
  await using agent = await startAgent([line.port], 1);
  const build = await submit(server.port, { function: "build:gate", unique: "u-kept", data: "{}" });
  await build.started;
  line.refuse(true);
  line.cut();
  await openGate(agent);
  await agent.logged("is kept until a job server asks for it again");
  line.refuse(false);
  await assertOneSuccess(build, agent);
  await agent.logged("its ending is sent");
});

test("a kept ending outlives the agent", { skip }, async () => {
  await using folder = await temporaryFolder();
  await using server = await startGearmand();
  await using line = await startRecorder(server);
  let build: Watched;
  {
    await using agent = await TestAgent.start({ yaml: yaml(1), ports: [line.port], folder: folder.path });
    await execa("mkfifo", [join(agent.stateDir, "gate")]);
    build = await submit(server.port, { function: "build:gate", unique: "u-outlives", data: "{}" });
    await build.started;
    line.refuse(true);
    line.cut();
    await openGate(agent);
    await agent.logged("is kept until a job server asks for it again");
    assert.equal(await agent.end("SIGTERM"), 0);
  }
  line.refuse(false);
  await using agent = await TestAgent.start({ yaml: yaml(1), ports: [line.port], folder: folder.path });
  await assertOneSuccess(build, agent);
});

test("gearmand dies three times: a background job in its SQLite queue is taken up again", {
  skip,
}, async () => {
  await using folder = await temporaryFolder();
  const args = ["-q", "libsqlite3", `--libsqlite3-db=${join(folder.path, "queue")}`];
  let server = await startGearmand({ args });
  const { port } = server;
  try {
    await using agent = await startAgent([port], 2);
    await submit(port, { function: "build:gate", unique: "u-sqlite", data: "{}", background: true });
    await agent.logged("gate#1 assigned");
    for (let death = 1; death <= 3; death++) {
      await server[Symbol.asyncDispose]();
      server = await startGearmand({ args, port });
      await agent.logged("handed out again", death);
    }
    await openGate(agent);
    await agent.logged("gate#1 ended");
    assert.equal((await agent.record("gate", 1)).result, "SUCCESS");
    assert.equal((await functions(port)).get("build:gate")?.total, 0);
    await assert.rejects(agent.record("gate", 2), { code: "ENOENT" });
    await audit(agent, { builds: [] });
  } finally {
    await server[Symbol.asyncDispose]();
  }
});

test("gearmand dies: a client that submits the same unique again gets the running build", {
  skip,
}, async () => {
  let server = await startGearmand();
  const { port } = server;
  try {
    await using agent = await startAgent([port], 1);
    const first = await submit(port, { function: "build:gate", unique: "u-again", data: "{}" });
    await first.started;
    await server[Symbol.asyncDispose]();
    await assert.rejects(first.ended, { code: "CLOSED" });
    server = await startGearmand({ port });
    const second = await submit(port, { function: "build:gate", unique: "u-again", data: "{}" });
    await second.started;
    await openGate(agent);
    await assertOneSuccess(second, agent);
  } finally {
    await server[Symbol.asyncDispose]();
  }
});

for (const where of ["on the server that comes back", "on another server"] as const) {
  test(`a new unique, ${where}, gets a new build, and the orphan is stopped`, { skip }, async () => {
    let server = await startGearmand();
    await using other = await startGearmand();
    const { port } = server;
    try {
      await using agent = await startAgent([port, other.port], 1, "1s");
      const first = await submit(port, { function: "build:gate", unique: "u-old", data: "{}" });
      await first.started;
      await server[Symbol.asyncDispose]();
      let next = other.port;
      if (where === "on the server that comes back") {
        server = await startGearmand({ port });
        next = port;
      }
      const second = await submit(next, { function: "build:quick", unique: "u-new", data: "{}" });
      assert.equal(object((await second.ended).at(-1)).result, "SUCCESS");
      const orphan = await agent.record("gate", 1);
      assert.equal(orphan.result, undefined);
      assert.match((orphan.ending as { reason: string }).reason, /didn't ask for it again/);
      await audit(agent, { builds: [second] });
    } finally {
      await server[Symbol.asyncDispose]();
    }
  });
}
