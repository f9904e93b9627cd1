/** The agent runs out of file descriptors, at each step of a build, and has enough again. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { functions, object, submit, type Watched } from "../support/clients.ts";
import { buildProcesses, descriptors, halfWritten } from "../support/leftovers.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand", "gearadmin") || lacksPrlimit();

function lacksPrlimit(): string | false {
  try {
    execFileSync("prlimit", ["--version"]);
    return false;
  } catch {
    return "NOT TESTED HERE: there is no prlimit";
  }
}

const yaml = `
name: box7
host: { classes: [lab1] }
builds: { min-free: 0 }
jobs:
  quick: { run: "echo quick; touch a b c", artifacts: ["*"] }
  wait: { run: "sleep 300 & echo begun; sleep 300", grace: 1s }
`;

/** Allows descriptors whose numbers are lower; those that are open stay so. */
function limit(agent: TestAgent, number: number): void {
  execFileSync("prlimit", ["--pid", `${agent.child.pid}`, `--nofile=${number}:`]);
}

/** Leaves the agent so many descriptors beside those that it has open. */
function leave(agent: TestAgent, count: number): void {
  const open = new Set(readdirSync(`/proc/${agent.child.pid}/fd`).map(Number));
  let number = 0;
  // There are gaps in what is open.
  for (let left = count; left > 0 || open.has(number); number++) if (!open.has(number)) left -= 1;
  limit(agent, number);
}

const enough = 1000;

async function outcome(build: Watched): Promise<unknown> {
  const data = (await build.ended).filter(({ type }) => type === "data").at(-1);
  return data && object(data).result;
}

/** Resolves when the node takes builds; each look is a command of its own. */
async function isWell(agent: TestAgent): Promise<void> {
  while ((await agent.status()).nodes[0]?.reasons.length !== 0);
}

test("too few for a build: one line, no result, and builds pass again when there are enough", {
  skip,
}, async (t) => {
  await using server = await startGearmand();
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  const run = () => submit(server.port, { function: "build:quick", data: "{}" });
  assert.equal(await outcome(await run()), "SUCCESS");
  await isWell(agent);
  const before = descriptors(agent.child.pid);
  const failed: number[] = [];
  for (const count of [0, 1, 2, 3, 4, 5, 7, 9]) {
    const seen = agent.log.length;
    const complaints = () => agent.log.slice(seen).filter(({ level }) => level >= 40);
    leave(agent, count);
    const build = await run();
    // The agent's look at the box comes before the build, or after it.
    const held = agent.logged(
      (line) => line.msg.startsWith("no build is taken") && complaints().includes(line),
    );
    held.catch(() => {});
    const result = await Promise.race([outcome(build), held.then(() => "held")]);
    if (result === undefined) {
      failed.push(count);
      assert.equal(build.events.at(-1)?.type, "fail");
    }
    for (const { msg } of complaints()) {
      assert.match(
        msg,
        /^(quick#\d+ ended|no build is taken|no build): .*(the agent has no file descriptors left|EMFILE)/,
      );
      assert.doesNotMatch(msg, /\n/);
    }
    assert.ok(complaints().length <= 2, JSON.stringify(complaints()));
    limit(agent, enough);
    await build.ended;
    assert.equal(await outcome(await run()), "SUCCESS");
    await isWell(agent);
  }
  assert.ok(failed.length > 2, `builds failed with ${failed} descriptors`);
  assert.equal((await functions(server.port)).get("build:quick:lab1")?.workers, 1);
  const { sockets, files } = descriptors(agent.child.pid);
  assert.deepEqual({ sockets, files }, { sockets: before.sockets, files: before.files });
  assert.equal(await agent.end(), 0);
  assert.deepEqual(halfWritten(agent.stateDir), []);
  t.diagnostic(`builds failed with ${failed.join(", ")} descriptors left`);
});

test("none to look for a build's processes: it is killed all the same, and its record follows", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  const build = await submit(server.port, { function: "build:wait", data: '{"LABGEAR_STREAM":"1"}' });
  await build.said("begun");
  limit(agent, 5);
  const stop = { function: "stop:box7", data: JSON.stringify({ name: "wait", number: 1 }) };
  await (await submit(server.port, stop)).ended;
  assert.equal(await outcome(build), "ABORTED");
  assert.deepEqual(buildProcesses(agent.stateDir), []);
  await agent.logged(
    "wait#1 ended: stopped from afar; its record stays in memory until it can be written: EMFILE",
  );
  limit(agent, enough);
  await agent.logged("the records that couldn't be written are written now");
  assert.equal((await agent.record("wait", 1)).result, "ABORTED");
  const next = await submit(server.port, { function: "build:quick", data: "{}" });
  assert.equal(await outcome(next), "SUCCESS");
});
