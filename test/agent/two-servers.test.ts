/** The agent between two job servers at once. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { functions, gearman, object, submit } from "../support/clients.ts";
import { makeGate, openGate, waitAtGate } from "../support/gate.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand, temporaryFolder } from "../support/servers.ts";

const skip = lacks("gearmand", "gearman", "gearadmin");

const yaml = (folder: string) => `
name: box7
host: { classes: [lab1], executors: 2 }
jobs:
  counted: { run: "echo start >>${folder}/ledger; sleep 0.1; echo end >>${folder}/ledger" }
  gate: { run: "${waitAtGate}" }
  wait: { run: "exec sleep 300", grace: 1s }
`;

const run = (port: number, job: string, unique: string = randomUUID()) =>
  submit(port, { function: `build:${job}:lab1`, unique, data: "{}" });

test("builds come from both, and never more at once than there are executors", { skip }, async () => {
  await using one = await startGearmand();
  await using two = await startGearmand();
  await using folder = await temporaryFolder();
  await using agent = await TestAgent.start({
    yaml: yaml(folder.path),
    folder: folder.path,
    ports: [one.port, two.port],
  });
  for (const { port } of [one, two]) {
    const registered = await functions(port);
    assert.equal(registered.get("build:counted:lab1")?.workers, 2);
    assert.equal(registered.get("stop:box7")?.workers, 1);
  }
  const ports = Array.from({ length: 6 }, () => [one.port, two.port]).flat();
  // Both executors are busy until both servers have all of theirs.
  await makeGate(agent.stateDir);
  const gates = [await run(one.port, "gate"), await run(two.port, "gate")];
  await Promise.all(gates.map(({ started }) => started));
  const builds = await Promise.all(ports.map((port) => run(port, "counted")));
  await using _ = await openGate(agent.stateDir);
  const ends = await Promise.all(builds.map(async (build) => object((await build.ended).at(-1))));
  assert.deepEqual(new Set(ends.map(({ result }) => result)), new Set(["SUCCESS"]));
  assert.equal(new Set(ends.map(({ number }) => number)).size, ports.length, "each has a number of its own");

  let running = 0;
  let most = 0;
  for (const line of (await readFile(join(folder.path, "ledger"), "utf8")).trim().split("\n")) {
    running += line === "start" ? 1 : -1;
    most = Math.max(most, running);
  }
  assert.ok(most <= 2, `${most} at once`);
  const records = await Promise.all(ends.map(({ number }) => agent.record("counted", Number(number))));
  // No server's builds wait until the other has none left.
  const order = records.toSorted((a, b) => Number(a.number) - Number(b.number)).map(({ server }) => server);
  assert.equal(new Set(order.slice(0, 6)).size, 2, String(order));
});

test("one dies: the other's builds go on, and it is served again when it is back", { skip }, async () => {
  await using one = await startGearmand();
  await using two = await startGearmand();
  await using folder = await temporaryFolder();
  await using agent = await TestAgent.start({
    yaml: yaml(folder.path),
    folder: folder.path,
    ports: [one.port, two.port],
  });
  const going = await run(two.port, "wait", "goes-on");
  await going.started;
  const dead = `127.0.0.1:${one.port}`;
  await one[Symbol.asyncDispose]();
  for (const who of [0, 1, undefined]) {
    await agent.logged(
      (line) => line.level === 40 && line.server === dead && line.executor === who && "code" in line,
    );
  }
  assert.equal(object((await (await run(two.port, "counted")).ended).at(-1)).result, "SUCCESS");
  assert.notEqual((await agent.status()).servers.find(({ server }) => server === dead)?.state, "asleep");
  assert.equal(going.events.at(-1)?.type, "status", "it still runs");

  await using back = await startGearmand({ port: one.port });
  assert.equal(object((await (await run(back.port, "counted")).ended).at(-1)).result, "SUCCESS");
  // Any job server will do to stop a build.
  await agent.logged(
    (line) => line.msg.startsWith("registered") && line.server === dead && "manager" in line,
    2,
  );
  assert.equal((await gearman(back.port, ["-f", "stop:box7", "goes-on"])).exitCode, 0);
  assert.equal(object((await going.ended).at(-2)).result, "ABORTED");
});
