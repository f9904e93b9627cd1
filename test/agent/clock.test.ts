/** A clock that jumps by years while the agent runs, and between its runs; libfaketime gives it that clock. */
import assert from "node:assert/strict";
import { open, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { execa } from "execa";
import type { BuildRecord } from "#/builds/record.ts";
import { TestAgent } from "../support/agent.ts";
import { object, submit, type Watched } from "../support/clients.ts";
import { lacks, part } from "../support/parts.ts";
import { type RunningServer, startGearmand, temporaryFolder } from "../support/servers.ts";

const skip = lacks("gearmand", "faketime");

const yaml = `
name: box7
host: { classes: [lab1] }
builds: { min-free: 0, keep-days: 10 }
jobs:
  quick: { run: "echo quick" }
  gate: { run: "echo begun; read line < ../../../gate; echo on; read line < ../../../gate; echo over" }
  late: { run: "sleep 300", timeout: 2s, grace: 0s }
`;

let server: RunningServer;
before(async () => {
  if (!skip) server = await startGearmand();
});
after(() => server?.[Symbol.asyncDispose]());

/** Sets the agent's clock so far from the true one, such as "+5y". */
async function setClock(folder: string, offset: string): Promise<void> {
  // As a whole, since the agent may look at any time.
  await writeFile(join(folder, "clock.new"), offset);
  await rename(join(folder, "clock.new"), join(folder, "clock"));
}

async function start(folder: string): Promise<TestAgent> {
  const env = {
    LD_PRELOAD: part("faketime"),
    FAKETIME_TIMESTAMP_FILE: join(folder, "clock"),
    FAKETIME_NO_CACHE: "1",
    // The clock that nobody sets goes on evenly.
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  };
  return TestAgent.start({ yaml, ports: [server.port], folder, env });
}

const run = (job: string) =>
  submit(server.port, { function: `build:${job}`, data: '{"LABGEAR_STREAM":"1"}' });
const openGate = (agent: TestAgent) => writeFile(join(agent.stateDir, "gate"), "go\n");
const builds = async (agent: TestAgent) => (await readdir(join(agent.stateDir, "builds/quick"))).map(Number);

async function resultOf(build: Watched): Promise<unknown> {
  const data = (await build.ended).filter(({ type }) => type === "data").at(-1);
  return object(data).result;
}

const record = async (agent: TestAgent, job: string, number: number) =>
  (await agent.record(job, number)) as unknown as BuildRecord;

test("a clock that jumps by years under running builds ends, removes and confuses none", {
  skip,
}, async () => {
  await using folder = await temporaryFolder();
  await setClock(folder.path, "+0");
  await using agent = await start(folder.path);
  await execa("mkfifo", [join(agent.stateDir, "gate")]);
  // Held open at both ends: a job's second read never meets the end of the first one's file.
  await using _ = await open(join(agent.stateDir, "gate"), "r+");
  assert.equal(await resultOf(await run("quick")), "SUCCESS");

  for (const [index, offset] of ["+5y", "-10y", "+0"].entries()) {
    const number = index + 1;
    const gate = await run("gate");
    await gate.said("begun");
    await setClock(folder.path, offset);
    await openGate(agent);
    await gate.said("on");
    await openGate(agent);
    assert.equal(await resultOf(gate), "SUCCESS");
    const { assigned, started = "", ended = "", took = -1 } = await record(agent, "gate", number);
    assert.ok(Math.abs(Date.parse(ended) - Date.parse(started)) > 1e10, `${assigned} ${started} ${ended}`);
    assert.ok(took >= 0 && took < 1e9, `it took ${took} ms`);
    const times = (await agent.file("gate", number, "console.times")).toString().trimEnd().split("\n");
    const stamps = times.map((line) => Number(line.split(" ")[1]));
    assert.deepEqual(
      stamps,
      stamps.toSorted((a, b) => a - b),
      "the console's times never decrease",
    );
    assert.equal(await resultOf(await run("quick")), "SUCCESS");
    assert.equal(await resultOf(await run("late")), "TIMED_OUT");
    const late = await record(agent, "late", number);
    assert.ok((late.took ?? 0) >= 1900 && (late.took ?? 0) < 1e9, `the timeout of 2 s took ${late.took} ms`);
  }

  assert.deepEqual((await builds(agent)).sort(), [1, 2, 3, 4], "no build was too old by any of the clocks");
  const listed: BuildRecord[] = JSON.parse((await agent.command("builds", "quick", "--json")).stdout);
  assert.deepEqual(
    listed.map(({ number }) => number),
    [4, 3, 2, 1],
  );
  const { stdout } = await agent.command("builds");
  assert.doesNotMatch(stdout, / -\d/, "no duration is below nothing");
  assert.doesNotMatch(stdout, /\d{3,}h/, "none is one of years");
  const complaints = agent.log.filter(
    ({ level, msg }) => level >= 40 && !msg.startsWith("no control groups"),
  );
  assert.deepEqual(complaints, []);
});

test("an agent that starts with a clock years ahead, or years behind, removes nothing", {
  skip,
}, async () => {
  await using folder = await temporaryFolder();
  for (const [index, offset] of ["+0", "+5y", "-10y", "+0"].entries()) {
    await setClock(folder.path, offset);
    await using agent = await start(folder.path);
    const all = Array.from({ length: index }, (_, number) => number + 1);
    assert.deepEqual((await builds(agent).catch(() => [])).sort(), all);
    const build = await run("quick");
    assert.equal(await resultOf(build), "SUCCESS");
    assert.equal(object(build.events.at(-1)).number, index + 1);
    // The command is answered after the look that follows an ending.
    assert.match((await agent.command("log", "quick")).stdout, /^quick$/m);
    assert.equal(await agent.end(), 0);
    assert.deepEqual((await builds(agent)).sort(), [...all, index + 1]);
  }
});
