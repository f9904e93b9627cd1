/** The agent against the Perl job server, which knows neither GRAB_JOB_UNIQ nor WORK_DATA. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BuildKey } from "#/exchange/key.ts";
import { TestAgent } from "../support/agent.ts";
import { functions, gearman, object, submit } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startPerlServer } from "../support/servers.ts";

const skip = lacks("perlGearmand", "gearman", "gearadmin");

const yaml = `
name: box7
host: { classes: [lab1], executors: 2 }
jobs:
  pass: { run: "echo out" }
  fail: { run: "exit 3" }
  takes: { inputs: { app: { max: 1MiB, optional: true } }, run: "true" }
  wait: { run: "echo waiting; exec sleep 300", grace: 1s }
`;

let server: RunningServer;
let agent: TestAgent;

before(async () => {
  if (skip) return;
  server = await startPerlServer();
  agent = await TestAgent.start({ yaml, ports: [server.port] });
});

after(async () => {
  await agent?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const run = (name: string, argument: string) => gearman(server.port, ["-f", name, argument]);

/** Resolves when so many builds run; each is assigned by a line of the log. */
async function assigned(title: string): Promise<void> {
  await agent.logged((line) => line.msg === `${title} assigned`);
}

test("gearman -f build:JOB:CLASS ends with the right exit code", { skip }, async () => {
  const passed = await run("build:pass:lab1", '{"ZUUL_UUID":"p-pass"}');
  assert.equal(passed.exitCode, 0, passed.stderr);
  assert.equal((await agent.record("pass", 1)).uuid, "p-pass");
  const failed = await run("build:fail", "{}");
  assert.notEqual(failed.exitCode, 0);
  const record = await agent.record("fail", 1);
  assert.equal(record.result, "FAILURE");
  assert.match(String(record.uuid), /^[0-9a-f-]{36}$/, "a build that has no name gets one");
});

test("the object with the result comes with WORK_COMPLETE, though WORK_DATA does not get through", {
  skip,
}, async () => {
  const build = await submit(server.port, { function: "build:pass", data: '{"ZUUL_UUID":"p-object"}' });
  const end = (await build.ended).at(-1);
  assert.equal(end?.type, "complete");
  const { name, result, manager } = object(end);
  assert.deepEqual({ name, result, manager }, { name: "pass", result: "SUCCESS", manager: "box7" });
});

test("an input can't be sent through it, which the build says at once", { skip }, async () => {
  const LABGEAR_INPUTS = JSON.stringify([{ name: "app", size: 1, sha256: "0".repeat(64) }]);
  const parameters = { ZUUL_UUID: "p-takes", LABGEAR_KEY: BuildKey.generate().publicKey, LABGEAR_INPUTS };
  assert.notEqual((await run("build:takes", JSON.stringify(parameters))).exitCode, 0);
  const { result, ending } = (await agent.record("takes", 1)) as { result: string; ending: object };
  const reason =
    "the input app can't be sent: this job server passes no data on to clients, so none can be asked for a file; use gearmand";
  assert.deepEqual([result, ending], ["FAILURE", { kind: "failed", reason, cause: "input" }]);
  assert.equal((await run("build:takes", JSON.stringify({ ZUUL_UUID: "p-none" }))).exitCode, 0);
});

test("functions stay registered and stop by ZUUL_UUID is answered while every executor is busy", {
  skip,
}, async () => {
  const uuids = ["p-stop-1", "p-stop-2"];
  const builds = uuids.map((ZUUL_UUID) => run("build:wait:lab1", JSON.stringify({ ZUUL_UUID })));
  await Promise.all([assigned("wait#1"), assigned("wait#2")]);
  const status = await functions(server.port);
  for (const name of ["build:pass", "build:pass:lab1", "build:wait:box7"])
    assert.equal(status.get(name)?.workers, 2, name);
  for (const name of ["stop:box7", "set_description:box7"]) assert.equal(status.get(name)?.workers, 1, name);
  assert.equal(status.get("build:wait:lab1")?.running, 2);

  for (const uuid of uuids) assert.equal((await run("stop:box7", uuid)).exitCode, 0);
  for (const build of builds) assert.notEqual((await build).exitCode, 0);
  for (const number of [1, 2]) assert.equal((await agent.record("wait", number)).result, "ABORTED");
  assert.notEqual((await run("stop:box7", "p-stop-1")).exitCode, 0, "it has ended");
});

test("after all that the agent still takes builds, on the connections it had", { skip }, async () => {
  assert.equal((await run("build:pass", "{}")).exitCode, 0);
  const registrations = agent.log.filter((line) => line.msg.startsWith("registered"));
  assert.equal(registrations.length, 4, "one for each executor and the manager's two");
});
