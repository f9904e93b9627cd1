/** `labgear build` with what only a race or another client brings about. */
import assert from "node:assert/strict";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { execa } from "execa";
import { BuildKey } from "#/exchange/key.ts";
import { TestAgent } from "../support/agent.ts";
import { startWorker, submitDetached } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand } from "../support/servers.ts";
import { Running } from "./running.ts";

const skip = lacks("gearmand");

test("Ctrl-C before the build's first data: it is stopped as soon as that comes", { skip }, async () => {
  await using server = await startGearmand();
  await using box = await startWorker([server], ["build:odd"]);
  await using manager = await startWorker([server], ["stop:box7"]);
  await using running = Running.start(["build", "odd", "--server", `127.0.0.1:${server.port}`]);
  const job = await box.jobs.next();
  await running.until("stderr", "is queued as");
  running.child.kill("SIGINT");
  await running.until("stderr", "[the build is running: it is stopped as soon as it reports where");
  job.data(
    JSON.stringify({ name: "odd", number: 1, manager: "box7", node_name: "box7", url: "http://box7" }),
  );
  const stop = await manager.jobs.next();
  assert.match(`${stop.argument}`, new RegExp(job.unique));
  stop.complete();
  stop.done();
  job.data(JSON.stringify({ name: "odd", number: 1, manager: "box7", result: "ABORTED", reason: "stopped" }));
  job.fail();
  job.done();
  assert.equal(await running.ended, 3);
  assert.match(running.stderr, /^ABORTED after .*: stopped; odd#1 on box7: http:\/\/box7$/m);
});

const data = (manager: string, more = {}) =>
  JSON.stringify({ name: "odd", number: 1, manager, node_name: manager, url: `http://${manager}`, ...more });

test("Ctrl-C reaches a build that moves to another agent meanwhile", { skip }, async () => {
  await using server = await startGearmand();
  const one = await startWorker([server], ["build:odd"]);
  await using running = Running.start(["build", "odd", "--server", `127.0.0.1:${server.port}`]);
  (await one.jobs.next()).data(data("box7"));
  await running.until("stderr", "runs on box7");
  // Its agent doesn't answer any more.
  running.child.kill("SIGINT");
  await running.until("stderr", "stopping the build");
  await using manager = await startWorker([server], ["stop:box8"]);
  await using two = await startWorker([server], ["build:odd"]);
  await one[Symbol.asyncDispose]();
  const job = await two.jobs.next();
  job.data(data("box8"));
  const stop = await manager.jobs.next();
  assert.match(`${stop.argument}`, new RegExp(job.unique));
  stop.complete();
  stop.done();
  job.data(data("box8", { result: "ABORTED", reason: "stopped" }));
  job.fail();
  job.done();
  assert.equal(await running.ended, 3);
});

test("Ctrl-C takes a build back whose agent has gone, and that is queued again", { skip }, async () => {
  await using server = await startGearmand();
  const one = await startWorker([server], ["build:odd"]);
  await using running = Running.start(["build", "odd", "--server", `127.0.0.1:${server.port}`]);
  (await one.jobs.next()).data(data("box7"));
  await running.until("stderr", "runs on box7");
  await one[Symbol.asyncDispose]();
  running.child.kill("SIGINT");
  assert.equal(await running.ended, 3, running.stderr);
  assert.match(running.stderr, /^ABORTED after .*: cancelled while it was queued; /m);
  await using two = await startWorker([server], ["build:odd"]);
  const other = await submitDetached(server, "build:odd");
  const next = await two.jobs.next();
  assert.equal(next.handle, other, "it never runs");
  next.complete();
  next.done();
});

test("a client that joins a running build gets what came before, too", {
  skip,
}, async () => {
  await using one = await startGearmand();
  await using two = await startGearmand();
  const yaml = `
name: box7
host: { classes: [lab1], executors: 2 }
builds: { min-free: 1MiB }
jobs:
  gate: { run: "echo first; read line < ../../../gate; echo second; read line < ../../../gate" }
`;
  await using agent = await TestAgent.start({ yaml, ports: [one.port, two.port] });
  const gate = join(agent.stateDir, "gate");
  await execa("mkfifo", [gate]);
  // Held open for reading, too: nothing waits for the other end, and the job never reads an end of file.
  await using opened = await open(gate, "r+");
  // Another key makes it another request.
  const key = BuildKey.generate().publicKey;
  const build = (port: number) =>
    Running.start([
      ...["build", "gate", "-p", "ZUUL_UUID=joined", "-p", `LABGEAR_KEY=${key}`],
      ...["--client-timeout", "0", "--server", `127.0.0.1:${port}`],
    ]);
  await using first = build(one.port);
  await first.until("stdout", "first\n");
  await using second = build(two.port);
  await agent.logged("handed out again");
  await second.until("stderr", "runs on box7");
  await opened.write("go\n");
  await second.until("stdout", "second\n");
  await opened.write("go\n");
  assert.equal(await second.ended, 0, second.stderr);
  assert.equal(await first.ended, 0, first.stderr);
  assert.equal(second.stdout, "first\nsecond\n");
  for (const { stderr } of [first, second]) assert.doesNotMatch(stderr, /bytes/);
});
