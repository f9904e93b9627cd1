/** Many builds by many clients against few executors: each ends exactly once, and nothing grows. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { audit, readRecords, runsOf, witness } from "../support/audit.ts";
import { object, submit, type Watched } from "../support/clients.ts";
import { descriptors, memory } from "../support/leftovers.ts";
import { lacks } from "../support/parts.ts";
import { scale } from "../support/scale.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand", "gearadmin");

const builds = scale(60, 500);
const clients = 20;
const executors = 4;

const yaml = `
name: box7
host: { classes: [lab1], executors: ${executors} }
builds: { keep: 1000 }
jobs:
  one: &job
    parameters: [EXIT]
    artifacts: ["note"]
    run: |
      ${witness.replaceAll("\n", "\n      ")}
      echo "$LABGEAR_UUID" | tee note
      exit "$EXIT"
  other: *job
`;

let server: RunningServer;
let agent: TestAgent;

before(async () => {
  if (skip) return;
  server = await startGearmand();
  agent = await TestAgent.start({ yaml, ports: [server.port] });
});

after(async () => {
  await agent?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

/** How the numbered build is to end: every seventh fails. */
const exitOf = (index: number) => (index % 7 === 6 ? 3 : 0);

async function run(index: number): Promise<Watched> {
  const options = {
    function: `build:${index % 3 === 0 ? "other" : "one"}${index % 2 === 0 ? ":lab1" : ""}`,
    unique: `u-${index}`,
    data: JSON.stringify({ EXIT: `${exitOf(index)}`, ...(index % 5 === 0 && { LABGEAR_STREAM: "1" }) }),
  };
  const build = await submit(server.port, options);
  await build.ended;
  return build;
}

test(`${builds} builds by ${clients} clients on ${executors} executors`, { skip }, async (context) => {
  const all: Watched[] = [];
  let next = 0;
  /** The clients take turns until so many builds have ended. */
  const untilDone = async (count: number) => {
    const client = async () => {
      while (next < count) all.push(await run(next++));
    };
    await Promise.all(Array.from({ length: clients }, client));
  };

  await untilDone(Math.ceil(builds / 5));
  const { pid } = agent.child;
  await audit(agent, { builds: all });
  const early = { memory: memory(pid, "VmRSS"), descriptors: descriptors(pid) };
  await untilDone(builds);
  const late = memory(pid, "VmRSS");
  const mib = (bytes: number) => Math.round(bytes / 2 ** 20);
  context.diagnostic(
    `RSS ${mib(early.memory)} MiB after a fifth, ${mib(late)} at the end, ` +
      `${mib(memory(pid, "VmHWM"))} at most`,
  );

  assert.equal(all.length, builds);
  for (const { asked, events } of all) {
    const { unique = "" } = asked;
    const index = Number(unique.slice(2));
    const last = object(events.findLast(({ type }) => type === "data"));
    assert.equal(last.result, exitOf(index) === 0 ? "SUCCESS" : "FAILURE", unique);
    assert.deepEqual(runsOf(agent.stateDir, unique), [last.number], unique);
  }
  await audit(agent, { builds: all, descriptors: early.descriptors });
  const records = [...readRecords(agent.stateDir).values()];
  assert.equal(records.length, builds);
  for (const { uuid, artifacts } of records) {
    assert.deepEqual(
      artifacts?.map(({ path, size }) => [path, size]),
      [["note", uuid.length + 1]],
    );
  }
  // Generous: the garbage that is there at any moment comes to some 20 MiB.
  assert.ok(late - early.memory < 50 * 2 ** 20, `RSS grew from ${mib(early.memory)} to ${mib(late)} MiB`);

  assert.equal(await agent.end("SIGTERM"), 0);
  await audit(agent, { builds: all });
});
