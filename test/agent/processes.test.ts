/** Whatever a job does to get its children out of reach, none outlives its build; through the whole agent. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, type TestContext, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { gearman, object, submit, type Watched } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { processesMarked } from "../support/processes.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand", "gearman");

/** The last argument of each child's command line. */
const marker = `mark${randomBytes(6).toString("hex")}`;

/** Tells that it is there, by the fifo, and stays. */
const stay = "open F, q(>ready); print F qq(here\\n); close F; sleep 3600";
const deaf = `$SIG{TERM} = q(IGNORE); ${stay}`;
const daemon = `exit if fork; POSIX::setsid(); exit if fork; ${stay}`;
const traceless = `exit if fork; POSIX::setsid(); exit if fork; open $_, q(</dev/null) for *STDIN, *STDOUT, *STDERR; ${stay}`;

/** Starts five children in all the ways to get away, and goes on when all of them are there. */
const script = `
rm -f ready
mkfifo ready
setsid perl -e '${stay}' ${marker} &
env -i perl -e '${stay}' ${marker} &
(setsid perl -e '${deaf}' ${marker} &)
perl -MPOSIX -e '${daemon}' ${marker}
env -i /usr/bin/perl -MPOSIX -e '${traceless}' ${marker}
exec 3<>ready
head -n 5 <&3 >/dev/null
echo all are here`;

const block = (text: string) => text.trim().replaceAll("\n", "\n      ");
const yaml = `
name: box7
host: { classes: [lab1], executors: 2 }
jobs:
  ends:
    run: |
      ${block(script)}
  stays:
    grace: 500ms
    run: |
      ${block(script)}
      sleep 3600
  times-out:
    timeout: 8s
    grace: 500ms
    run: |
      ${block(script)}
      sleep 3600
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

function start(job: string): Promise<Watched> {
  const data = JSON.stringify({ LABGEAR_STREAM: "1" });
  return submit(server.port, { function: `build:${job}:lab1`, unique: `p-${job}`, data });
}

interface Found {
  readonly pid: number;
  readonly command: string;
}

/** Where control groups are to be had nothing may live; elsewhere what lives has to be named in the record. */
function assertNobodyLeft(context: TestContext, record: Record<string, unknown>): void {
  const alive = processesMarked(marker);
  const excuse = agent.log.find((line) => line.msg.startsWith("no control groups"));
  if (!excuse) {
    assert.deepEqual(alive, []);
    return;
  }
  context.diagnostic(`NOT TESTED HERE WITH CONTROL GROUPS: ${excuse.msg}`);
  const named = JSON.stringify([record.survivors, record.warnings]);
  for (const line of alive) {
    const pid = Number.parseInt(line, 10);
    process.kill(pid, "SIGKILL");
    assert.match(named, new RegExp(`\\b${pid}\\b`), `${line} is named`);
  }
}

function assertNamed(record: Record<string, unknown>, atLeast: number): void {
  const leftovers = (record.leftovers ?? []) as Found[];
  const ours = leftovers.filter(({ command }) => command.includes(marker));
  assert.ok(ours.length >= atLeast, JSON.stringify(leftovers));
  for (const { pid } of ours) assert.ok(Number.isSafeInteger(pid) && pid > 1);
}

test("after a normal end: the daemon that holds the output doesn't keep the build open, and none is left", {
  skip,
}, async (context) => {
  const events = await (await start("ends")).ended;
  assert.equal(object(events.at(-1)).result, "SUCCESS");
  const record = await agent.record("ends", 1);
  assertNobodyLeft(context, record);
  assertNamed(record, 4);
  assert.equal((await agent.file("ends", 1, "console.log")).toString(), "all are here\n");
});

test("after a stop none is left, and who was deaf to SIGTERM is named", { skip }, async (context) => {
  const build = await start("stays");
  await build.said("all are here");
  assert.ok(processesMarked(marker).length >= 5);
  assert.equal((await gearman(server.port, ["-f", "stop:box7", "p-stays"])).exitCode, 0);
  assert.equal(object((await build.ended).at(-2)).result, "ABORTED");
  const record = await agent.record("stays", 1);
  assertNobodyLeft(context, record);
  assertNamed(record, 1);
});

test("after the timeout none is left", { skip }, async (context) => {
  const build = await start("times-out");
  assert.equal(object((await build.ended).at(-2)).result, "TIMED_OUT");
  const record = await agent.record("times-out", 1);
  assertNobodyLeft(context, record);
  assertNamed(record, 1);
});

test("a build that ends takes nothing of another one with it", { skip }, async (context) => {
  const staying = await start("stays");
  await staying.said("all are here");
  const before = processesMarked(marker).length;
  assert.equal(object((await (await start("ends")).ended).at(-1)).result, "SUCCESS");
  assert.equal(processesMarked(marker).length, before);
  assert.equal((await gearman(server.port, ["-f", "stop:box7", "p-stays"])).exitCode, 0);
  await staying.ended;
  assertNobodyLeft(context, await agent.record("stays", 2));
});
