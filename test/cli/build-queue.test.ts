/** `labgear build` while its build waits: priorities, its place and the reason, and giving up. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Launch, submitBuild } from "#/cli/build/launch.ts";
import { JobServer } from "#/gearman/server/server.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { labgear, TestAgent } from "../support/agent.ts";
import { startWorker } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand, startPerlServer } from "../support/servers.ts";
import { Running } from "./running.ts";

async function startEmbedded(): Promise<ServerAddress & AsyncDisposable> {
  const server = new JobServer({ software: "labgear 0" });
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  return { host: "127.0.0.1", port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** Twenty builds in a seeded order of priorities, some by the command line; returns the uuids in the order they started. */
async function order(server: ServerAddress, functions: readonly string[]): Promise<[string[], string[]]> {
  await using box = await startWorker([server], ["build:first", ...functions.map((name) => `build:${name}`)]);
  const silent = { show() {}, [Symbol.dispose]() {} };
  await submitBuild(server, { job: "first", parameters: {} }, silent);
  const first = await box.jobs.next();
  const submitted: { uuid: string; rank: number }[] = [];
  for (let index = 0; index < 20; index++) {
    const rank = (index * 7 + 2) % 3;
    const priority = (["high", "normal", "low"] as const)[rank] ?? "normal";
    const job = functions[index % functions.length] ?? "";
    const launch: Launch = { job, priority, parameters: { ZUUL_UUID: `u-${index}` } };
    const args = ["build", job, "--detach", "--priority", priority, "-p", `ZUUL_UUID=u-${index}`];
    if (index % 9 !== 0) await submitBuild(server, launch, silent);
    else assert.equal((await labgear([...args, "--server", `${server.host}:${server.port}`])).exitCode, 0);
    submitted.push({ uuid: `u-${index}`, rank });
  }
  first.complete("{}");
  first.done();
  const started: string[] = [];
  for (const _ of submitted) {
    const job = await box.jobs.next();
    started.push(job.unique);
    job.complete("{}");
    job.done();
  }
  const expected = submitted.toSorted((a, b) => a.rank - b.rank).map(({ uuid }) => uuid);
  return [started, expected];
}

describe("--priority", () => {
  test("orders 20 builds of a function on gearmand", { skip: lacks("gearmand") }, async () => {
    await using server = await startGearmand();
    assert.deepEqual(...(await order(server, ["here"])));
  });

  test("orders 20 builds over all functions on the embedded server", async () => {
    await using server = await startEmbedded();
    assert.deepEqual(...(await order(server, ["here", "there", "elsewhere"])));
  });
});

test("its place over all functions of its workers, on the embedded server, and why it waits", async () => {
  await using server = await startEmbedded();
  await using box = await startWorker([server], ["build:here", "build:there"]);
  const silent = { show() {}, [Symbol.dispose]() {} };
  for (const job of ["here", "here", "there"]) await submitBuild(server, { job, parameters: {} }, silent);
  const first = await box.jobs.next();
  await using running = Running.start(["build", "here", "--server", `127.0.0.1:${server.port}`]);
  await running.until(
    "stderr",
    /^waiting \(2 builds wait there, number 3 in line\): the only executor is busy$/m,
  );
  running.child.kill("SIGTERM");
  assert.equal(await running.ended, 3, running.stderr);
  first.done();
});

test("a build that is cancelled elsewhere while it waits isn't submitted again", async () => {
  await using server = await startEmbedded();
  await using box = await startWorker([server], ["build:here"]);
  const silent = { show() {}, [Symbol.dispose]() {} };
  await submitBuild(server, { job: "here", parameters: {} }, silent);
  const first = await box.jobs.next();
  const address = ["--server", `127.0.0.1:${server.port}`];
  await using running = Running.start([
    "build",
    "here",
    "--retry-infra",
    "2",
    "-p",
    "ZUUL_UUID=u-1",
    ...address,
  ]);
  await running.until("stderr", "here is queued as u-1\n");
  const stopped = await labgear(["stop", "u-1", ...address]);
  assert.equal(stopped.exitCode, 0, stopped.stderr);
  assert.equal(await running.ended, 5, running.stderr);
  assert.match(running.stderr, /^no result after .*: it left the queue before a node began it: [^\n]*\n$/m);
  assert.equal(running.stderr.match(/ is queued as /g)?.length, 1);
  first.done();
});

test("why its nodes take nothing, by what their agents say", async () => {
  await using server = await startEmbedded();
  const yaml = `
name: box7
host: { classes: [lab1], executors: 1 }
builds: { min-free: 1MiB }
jobs: { here: { run: "true" } }
`;
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  await agent.logged((line) => line.msg.startsWith("registered") && "exchange" in line);
  await agent.command("pause", "--reason", "a new disk");
  const args = ["build", "here", "--node", "lab1", "--server", `127.0.0.1:${server.port}`];
  await using running = Running.start(args);
  await running.until(
    "stderr",
    /^waiting \(no other build waits there, number 1 in line\): box7 is paused \(a new disk\)$/m,
  );
  await agent.command("resume");
  assert.equal(await running.ended, 0, running.stderr);
});

describe("--queue-timeout", () => {
  test("8 when nobody takes the build; it is cancelled and never runs", {
    skip: lacks("gearmand"),
  }, async () => {
    await using gearmand = await startGearmand();
    await using embedded = await startEmbedded();
    for (const server of [gearmand, embedded]) await givesUp(server);
  });

  test("8 also where the server can't cancel: the client leaves", {
    skip: lacks("perlGearmand"),
  }, async () => {
    await using server = await startPerlServer();
    await givesUp(server);
  });

  async function givesUp(server: ServerAddress): Promise<void> {
    await using box = await startWorker([server], ["build:here"]);
    await submitBuild(server, { job: "here", parameters: {} }, { show() {}, [Symbol.dispose]() {} });
    const first = await box.jobs.next();
    const args = ["build", "here", "--queue-timeout", "100ms", "--server", `127.0.0.1:${server.port}`];
    const { exitCode, stderr } = await labgear(args);
    assert.equal(exitCode, 8, stderr);
    assert.match(stderr, /^\[no node took it within 100ms: giving up\]$/m);
    assert.match(stderr, /^ABORTED after .*: cancelled while it was queued$/m);
    first.complete("{}");
    first.done();
    await submitBuild(
      server,
      { job: "here", parameters: { ZUUL_UUID: "next" } },
      { show() {}, [Symbol.dispose]() {} },
    );
    const next = await box.jobs.next();
    assert.match(`${next.argument}`, /"next"/);
    next.done();
  }

  test("a build that has begun meanwhile is stopped: 8; one that ends first counts", {
    skip: lacks("gearmand"),
  }, async () => {
    await using server = await startGearmand();
    await using box = await startWorker([server], ["build:here"]);
    await using manager = await startWorker([server], ["stop:box7"]);
    const facts = { name: "here", number: 1, manager: "box7", node_name: "box7", url: "http://box7" };
    for (const result of ["ABORTED", "SUCCESS"]) {
      const args = ["build", "here", "--queue-timeout", "100ms", "--server", `127.0.0.1:${server.port}`];
      await using running = Running.start(args);
      const job = await box.jobs.next();
      await running.until("stderr", "[the build is running: it is stopped as soon as it reports where");
      job.data(JSON.stringify(facts));
      const stop = await manager.jobs.next();
      stop.complete();
      stop.done();
      job.data(JSON.stringify({ ...facts, result }));
      job.fail();
      job.done();
      assert.equal(await running.ended, result === "SUCCESS" ? 0 : 8, running.stderr);
    }
  });
});
