/** Jobs that print without end, in drops, or without a line's end: the console is cut, the build goes on, memory stays small. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { bundle } from "../../packaging/bundle.ts";
import { TestAgent } from "../support/agent.ts";
import { audit } from "../support/audit.ts";
import { object, submit, type Watched } from "../support/clients.ts";
import { memory } from "../support/leftovers.ts";
import { lacks } from "../support/parts.ts";
import { scale } from "../support/scale.ts";
import { bounded, startGearmand, temporaryFolder } from "../support/servers.ts";

const skip = lacks("gearmand", "gearadmin");

const mib = 2 ** 20;
const maxConsole = 8 * mib;
/** What each job prints, in bytes. */
const printed = { flood: scale(100, 2000) * mib, drops: scale(100_000, 1_000_000), line: 50 * mib };
const { flood, drops, line } = printed;
/** What an agent may take at most, all of Node's own pages included. */
const maxMemory = 150 * mib;

const yaml = `
name: box7
host: { classes: [lab1] }
builds: { max-console: 8MiB }
jobs:
  flood: { run: "yes 'so much to say, and nobody who wants to read all of it' | head -c ${flood}" }
  drops: { run: "perl -e '$| = 1; print q(.) for 1..${drops}'" }
  line: { run: "head -c ${line} /dev/zero | tr '\\\\0' x" }
`;

const resources = new AsyncDisposableStack();
let port: number;
/** The sources in one file, as they are shipped: stripping the types alone takes Node 60 MiB. */
let program: string;

before(async () => {
  if (skip) return;
  port = resources.use(await startGearmand()).port;
  program = join(resources.use(await temporaryFolder()).path, "labgear.cjs");
  await bundle(program, "0.0.0");
});

after(() => resources.disposeAsync());

/** Runs the job in an agent of its own, whose memory has seen nothing else. */
async function run(job: keyof typeof printed, context: TestContext, parameters: object = {}) {
  await using agent = await TestAgent.start({ yaml, ports: [port], program });
  const before = memory(agent.child.pid, "VmHWM");
  const build = await submit(port, {
    function: `build:${job}`,
    unique: `u-${job}`,
    data: JSON.stringify(parameters),
  });
  await bounded(build.ended, scale(60_000, 600_000));
  const most = memory(agent.child.pid, "VmHWM");
  context.diagnostic(`${job}: at most ${Math.round(most / mib)} MiB, ${Math.round(before / mib)} before`);
  assert.equal(object(build.events.at(-1)).result, "SUCCESS");
  assert.ok(most < maxMemory, `it took ${Math.round(most / mib)} MiB`);
  await audit(agent, { builds: [build] });
  const console = await agent.file(job, 1, "console.log");
  const kept = Math.min(printed[job], maxConsole);
  const isCut = printed[job] > maxConsole;
  assert.equal(/^\[labgear\] the console is cut here, at \d+ bytes; /m.test(console.toString()), isCut);
  assert.equal(console.toString().includes(`\n[labgear] ${printed[job] - kept} bytes are left out\n`), isCut);
  assert.ok(console.length < kept + 200);
  assert.deepEqual((await agent.record(job, 1)).console, {
    bytes: console.length,
    cut: printed[job] - kept,
  });
  return { build, console };
}

/** Each piece of the stream is what the console has there, in order, and the last one reaches its end; says how much there was. */
function assertStream(build: Watched, console: Buffer): number {
  let end = 0;
  let streamed = 0;
  for (const { output, offset } of build.events.filter(({ type }) => type === "data").map(object)) {
    if (output === undefined) continue;
    assert.ok(Number(offset) >= end, `${offset} after ${end}`);
    end = Number(offset) + `${output}`.length;
    assert.equal(console.subarray(Number(offset), end).toString(), output);
    streamed += `${output}`.length;
  }
  assert.equal(end, console.length);
  return streamed;
}

test(`${flood / mib} MiB of output`, { skip }, async (context) => {
  await run("flood", context);
});

test(`${flood / mib} MiB of output, and a client that has it streamed`, { skip }, async (context) => {
  const { build, console } = await run("flood", context, { LABGEAR_STREAM: "1" });
  assertStream(build, console);
});

test("one byte at a time", { skip }, async (context) => {
  await run("drops", context);
});

test("one byte at a time, and a client that has it streamed", { skip }, async (context) => {
  const { build, console } = await run("drops", context, { LABGEAR_STREAM: "1" });
  assert.equal(assertStream(build, console), printed.drops, "nothing of it is missing");
});

test(`a line of ${line / mib} MiB, streamed`, { skip }, async (context) => {
  const { build, console } = await run("line", context, { LABGEAR_STREAM: "1" });
  assertStream(build, console);
});
