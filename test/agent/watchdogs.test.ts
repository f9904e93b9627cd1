/** What ends a build: a client that has gone, and silence. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { JobServer } from "#/gearman/server/server.ts";
import { TestAgent } from "../support/agent.ts";
import { lastData } from "../support/clients.ts";
import { signOfLife, submitWith } from "../support/exchange.ts";
import { makeGate, openGate, waitAtGate } from "../support/gate.ts";

const yaml = `
name: box7
host: { classes: [lab1], executors: 4 }
jobs:
  stays: { run: "echo up; exec sleep 300", grace: 1s }
  gate: { run: "echo up; ${waitAtGate}", grace: 1s }
  silent: { run: "echo up; exec sleep 300", silence: 1s, grace: 1s }
`;

const resources = new AsyncDisposableStack();
let agent: TestAgent;
let server: { host: string; port: number };

before(async () => {
  const jobServer = resources.use(new JobServer({ software: "test" }));
  const { port } = await jobServer.listen({ host: "127.0.0.1", port: 0 });
  server = { host: "127.0.0.1", port };
  agent = resources.use(await TestAgent.start({ yaml, ports: [port] }));
  await makeGate(agent.stateDir);
});
after(() => resources.disposeAsync());

test("a client that has gone: ABORTED, cause client-gone", async () => {
  const build = await submitWith(server.port, "build:stays", [], { LABGEAR_CLIENT_TIMEOUT: "5" });
  const last = await lastData(build);
  assert.deepEqual([last.result, last.cause], ["ABORTED", "client-gone"]);
  assert.equal(last.reason, "its client gave no sign of life for 5s");
});

test("signs of life are answered; without the parameter none is needed", async () => {
  const build = await submitWith(server.port, "build:gate", [], { LABGEAR_CLIENT_TIMEOUT: "30" });
  const other = await submitWith(server.port, "build:gate", []);
  await build.started;
  for (let sign = 0; sign < 5; sign++) assert.equal(await signOfLife(server, "box7", build), 0);
  await using _ = await openGate(agent.stateDir);
  assert.equal((await lastData(build)).result, "SUCCESS");
  assert.equal((await lastData(other)).result, "SUCCESS");
});

test("a timeout without a key is refused", async () => {
  const build = await submitWith(server.port, "build:stays", [], {
    ...{ LABGEAR_CLIENT_TIMEOUT: "5", LABGEAR_KEY: "" },
  });
  const last = await lastData(build);
  assert.deepEqual([last.result, last.cause], ["FAILURE", "input"]);
  assert.match(String(last.reason), /needs LABGEAR_KEY/);
});

test("silence: TIMED_OUT, cause silent-job", async () => {
  const silent = await lastData(await submitWith(server.port, "build:silent", []));
  assert.deepEqual([silent.result, silent.cause], ["TIMED_OUT", "silent-job"]);
  assert.equal(silent.reason, "the job wrote nothing for 1s");
});
