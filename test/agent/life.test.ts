/** The agent's own life: pause, drain, reload, restart, the way down, and what it finds after a crash. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { functions, gearman, object, submit } from "../support/clients.ts";
import { lacksMount } from "../support/folders.ts";
import { lacks } from "../support/parts.ts";
import { processesMarked } from "../support/processes.ts";
import { freePort, type RunningServer, startGearmand, temporaryFolder } from "../support/servers.ts";

const skip = lacks("gearmand", "gearman", "gearadmin");
const marker = `mark${randomBytes(6).toString("hex")}`;

const yaml = `
name: box7
host: { classes: [lab1] }
jobs:
  pass: { run: "echo out" }
  wait: { run: "setsid perl -e '$|=1; print qq(waiting); sleep 300' ${marker} & exec sleep 300", grace: 1s }
`;

let server: RunningServer;
before(async () => {
  // A job whose worker is lost is failed, and not handed out again.
  if (!skip) server = await startGearmand({ args: ["--job-retries", "1"] });
});
after(() => server?.[Symbol.asyncDispose]());

const start = (folder?: string) =>
  TestAgent.start({ yaml, ports: [server.port], ...(folder === undefined ? {} : { folder }) });
const run = (job: string, parameters: object = {}) =>
  submit(server.port, { function: `build:${job}`, data: JSON.stringify(parameters) });
const stop = (job: string, number: number) =>
  gearman(server.port, ["-f", "stop:box7", JSON.stringify({ name: job, number })]);

/** Resolves when the agent's state is this; each look is a command of its own. */
async function reached(agent: TestAgent, state: string): Promise<void> {
  while ((await agent.status()).state !== state);
}

test("a paused node stays registered, and what is queued waits; the pause outlives a restart", {
  skip,
}, async () => {
  await using folder = await temporaryFolder();
  const queued = await (async () => {
    await using agent = await start(folder.path);
    assert.equal((await agent.command("pause", "--reason", "new disk")).exitCode, 0);
    const build = await run("pass");
    // The agent has answered something that came after the build, so it saw that one first.
    assert.notEqual((await stop("pass", 1)).exitCode, 0);
    const { total, running, workers } = (await functions(server.port)).get("build:pass") ?? {};
    assert.deepEqual({ total, running, workers }, { total: 1, running: 0, workers: 1 });
    return build;
  })();
  await using agent = await start(folder.path);
  const [node] = (await agent.status()).nodes;
  assert.equal(node?.state, "held");
  assert.match(String(node?.reasons), /paused: new disk/);
  assert.equal(queued.events.length, 0);
  assert.equal((await agent.command("resume")).exitCode, 0);
  assert.equal(object((await queued.ended).at(-1)).result, "SUCCESS");
});

test("OFFLINE_NODE_WHEN_COMPLETE pauses the node after the build", { skip }, async () => {
  await using agent = await start();
  const first = await run("pass", { OFFLINE_NODE_WHEN_COMPLETE: "1" });
  assert.equal(object((await first.ended).at(-1)).result, "SUCCESS");
  const second = await run("pass");
  const [node] = (await agent.status()).nodes;
  assert.match(String(node?.reasons), /paused: OFFLINE_NODE_WHEN_COMPLETE of pass#1/);
  assert.equal(second.events.length, 0);
  await agent.command("resume");
  await second.ended;
});

test("a reload takes up an added job, by command and by SIGHUP; a broken file changes nothing", {
  skip,
}, async () => {
  await using agent = await start();
  const running = await run("wait");
  await running.started;
  const servers = `servers: ["127.0.0.1:${server.port}"]\n`;
  await writeFile(agent.config, `${servers}${yaml}  added: { run: "true" }\n`);
  assert.equal((await agent.command("reload")).exitCode, 0);
  await writeFile(agent.config, `${servers}${yaml}  broken: { rum: "true" }\n`);
  const refused = await agent.command("reload");
  assert.notEqual(refused.exitCode, 0);
  assert.match(refused.stderr, /labgear\.yaml:\d+.*rum/);
  agent.child.kill("SIGHUP");
  assert.match((await agent.logged("old configuration stays in force")).msg, /labgear\.yaml:\d+.*rum/);
  await writeFile(agent.config, `${servers}${yaml}  added: { run: "true" }\n  more: { run: "true" }\n`);
  agent.child.kill("SIGHUP");
  await agent.logged("is read again", 2);
  assert.equal((await stop("wait", 1)).exitCode, 0);
  for (const job of ["added", "more"]) {
    assert.equal(object((await (await run(job)).ended).at(-1)).result, "SUCCESS", job);
  }
  assert.equal(object((await running.ended).at(-2)).result, "ABORTED", "it went on through all that");
});

test("OFFLINE_NODE_WHEN_COMPLETE ends the build and pauses the node also when the pause can't be saved", {
  skip: skip || lacksMount(),
}, async () => {
  await using agent = await start();
  const build = await run("wait", { OFFLINE_NODE_WHEN_COMPLETE: "1" });
  await build.started;
  await agent.logged("wait#1 assigned");
  // As on a full or read-only disk, the file can't be replaced.
  const state = join(agent.stateDir, "state.json");
  await rm(state);
  await mkdir(state);
  // Nothing can be moved out of the way that is mounted.
  execFileSync("mount", ["-t", "tmpfs", "none", state]);
  using _ = { [Symbol.dispose]: () => void execFileSync("umount", [state]) };
  assert.equal((await stop("wait", 1)).exitCode, 0);
  assert.equal(object((await build.ended).at(-2)).result, "ABORTED");
  await agent.logged("is paused only until a restart");
  const [node] = (await agent.status()).nodes;
  assert.match(String(node?.reasons), /paused: OFFLINE_NODE_WHEN_COMPLETE of wait#1/);
  assert.deepEqual(node?.executors, [{ index: 0 }]);
});

test("a reload that fails half-way leaves all of the old configuration in force", { skip }, async () => {
  await using agent = await start();
  const { nodes } = await agent.status();
  await writeFile(join(agent.stateDir, "devices"), "a file where the devices' folder would be");
  const device = `devices: { mcu-1: { classes: [mcu], port: "tcp://127.0.0.1:9", console: raw } }`;
  await writeFile(
    agent.config,
    `servers: ["127.0.0.1:${server.port}"]\n${yaml.replace("lab1", "lab2")}${device}\n`,
  );
  assert.equal((await agent.command("reload")).exitCode, 1);
  assert.deepEqual((await agent.status()).nodes, nodes);
});

test("a reload takes executors away: their builds go on, and a drain waits for them", { skip }, async () => {
  const sized = (executors: number) => yaml.replace("[lab1]", `[lab1], executors: ${executors}`);
  await using agent = await TestAgent.start({ yaml: sized(2), ports: [server.port] });
  const builds = await Promise.all([run("wait"), run("wait")]);
  await Promise.all(builds.map((build) => build.started));
  const indices = async (executors: number) => {
    await writeFile(agent.config, `servers: ["127.0.0.1:${server.port}"]\n${sized(executors)}`);
    assert.equal((await agent.command("reload")).exitCode, 0);
    return (await agent.status()).nodes[0]?.executors.map(({ index }) => index).sort();
  };
  assert.deepEqual(await indices(1), [0, 1], "1 is shown for as long as its build runs");
  assert.deepEqual(await indices(2), [0, 1, 2], "the workspaces of 1 are still in use");
  await indices(1);
  const drained = agent.command("drain", "--json");
  await reached(agent, "draining");
  // The one that stays an executor ends first; the other one's build is still waited for.
  const stayed = (await agent.record("wait", 1)).executor === 0 ? 1 : 2;
  const titles = builds.map(async (build) => ({ build, number: (await build.started).number }));
  const [first, second] = (await Promise.all(titles)).sort(({ number }) => (number === stayed ? -1 : 1));
  assert.equal((await stop("wait", stayed)).exitCode, 0);
  assert.equal(object((await first?.build.ended)?.at(-2)).result, "ABORTED");
  assert.equal((await agent.status()).state, "draining");
  assert.equal((await stop("wait", 3 - stayed)).exitCode, 0);
  assert.equal(JSON.parse((await drained).stdout).state, "drained");
  assert.equal(object((await second?.build.ended)?.at(-2)).result, "ABORTED");
});

test("drain takes nothing new and returns when the running build has ended", { skip }, async () => {
  await using agent = await start();
  const running = await run("wait");
  await running.started;
  const drained = agent.command("drain", "--json");
  await reached(agent, "draining");
  const queued = await run("pass");
  assert.equal((await stop("wait", 1)).exitCode, 0);
  const { state, nodes } = JSON.parse((await drained).stdout);
  assert.deepEqual([state, nodes[0].executors], ["drained", [{ index: 0 }]]);
  assert.equal(object((await running.ended).at(-2)).result, "ABORTED");
  assert.equal(queued.events.length, 0);
  await agent.command("resume");
  assert.equal(object((await queued.ended).at(-1)).result, "SUCCESS");
});

test("restart --when-idle waits for the build, keeps the process id, and goes on counting", {
  skip,
}, async () => {
  await using agent = await start();
  const { pid, since } = await agent.status();
  const running = await run("wait");
  await running.started;
  assert.equal((await agent.command("restart", "--when-idle")).exitCode, 0);
  await reached(agent, "draining");
  assert.equal((await stop("wait", 1)).exitCode, 0);
  await agent.logged("is up", 2);
  const status = await agent.status();
  assert.equal(status.pid, pid);
  assert.notEqual(status.since, since);
  assert.equal(object((await running.ended).at(-2)).result, "ABORTED");
  assert.equal((await (await run("wait")).started).number, 2);
});

test("restart --when-idle is refused while the configuration on disk is broken, and given up if it breaks meanwhile", {
  skip,
}, async () => {
  await using agent = await start();
  const good = await readFile(agent.config, "utf8");
  await writeFile(agent.config, "nmae: x\n");
  const refused = await agent.command("restart", "--when-idle");
  assert.equal(refused.exitCode, 2);
  assert.match(refused.stderr, /labgear\.yaml:1: /);
  assert.equal((await agent.status()).state, "running");
  await writeFile(agent.config, good);
  const running = await run("wait");
  await running.started;
  assert.equal((await agent.command("restart", "--when-idle")).exitCode, 0);
  await reached(agent, "draining");
  await writeFile(agent.config, "nmae: x\n");
  assert.equal((await stop("wait", 1)).exitCode, 0);
  await agent.logged("no restart");
  await reached(agent, "running");
  assert.equal(object((await (await run("pass")).ended).at(-1)).result, "SUCCESS");
});

test("a resume takes back the restart that waits; a later drain only drains", { skip }, async () => {
  await using agent = await start();
  const running = await run("wait");
  await running.started;
  assert.equal((await agent.command("restart", "--when-idle")).exitCode, 0);
  await reached(agent, "draining");
  assert.equal((await agent.command("resume")).exitCode, 0);
  await agent.logged("no restart");
  const drained = agent.command("drain", "--json");
  await reached(agent, "draining");
  assert.equal((await stop("wait", 1)).exitCode, 0);
  assert.equal(JSON.parse((await drained).stdout).state, "drained");
  await running.ended;
  // What a restart would have logged comes before this.
  assert.equal((await agent.command("pause")).exitCode, 0);
  assert.equal(agent.log.filter(({ msg }) => /starts again|has stopped/.test(msg)).length, 0);
});

/** Whether the agent handles signals: SIGHUP, bit 0 of the mask, which Node itself leaves alone. Source: proc_pid_status(5). */
async function handlesSignals({ child }: TestAgent): Promise<boolean> {
  const status = await readFile(`/proc/${child.pid}/status`, "utf8");
  return /^SigCgt:\s*[0-9a-f]*[13579bdf]$/m.test(status);
}

test("a SIGTERM while the agent starts ends it as any other does", { skip }, async () => {
  await using agent = await TestAgent.launch({ yaml, ports: [server.port] });
  while (!(await handlesSignals(agent)));
  assert.equal(await agent.end("SIGTERM"), 0);
  assert.match(agent.log.at(-1)?.msg ?? "", /has stopped/);
});

test("SIGTERM lets the running build end; a second one stops it with no result", { skip }, async () => {
  for (const signals of [1, 2]) {
    await using agent = await start();
    const running = await run("wait");
    await running.started;
    agent.child.kill("SIGTERM");
    await agent.logged("once more stops them");
    if (signals === 2) agent.child.kill("SIGTERM");
    else assert.equal((await stop("wait", 1)).exitCode, 0, "the manager still answers");
    const events = await running.ended;
    assert.equal(events.at(-1)?.type, "fail");
    assert.equal(object(events.at(-2)).result, signals === 2 ? undefined : "ABORTED");
    assert.equal(await agent.ended(), 0);
    const record = await agent.record("wait", 1);
    assert.equal((record.ending as { kind: string }).kind, signals === 2 ? "infrastructure" : "stopped");
    assert.deepEqual(processesMarked(marker), []);
  }
});

test("a second agent on the same state directory says so and ends", { skip }, async () => {
  await using agent = await start();
  await using second = await TestAgent.launch({ yaml, ports: [server.port], folder: agent.folder });
  assert.notEqual(await second.ended(), 0);
  assert.match(second.log.map((line) => line.msg).join("\n"), /another labgear agent uses .*state/);
  assert.equal((await agent.status()).pid, agent.child.pid, "the first one isn't disturbed");
});

test("after a SIGKILL the unfinished build is lost, its processes are gone, and numbers go on", {
  skip,
}, async () => {
  await using folder = await temporaryFolder();
  const killed = await start(folder.path);
  const passed = await (await run("pass")).ended;
  const build = await submit(server.port, { function: "build:wait", data: '{"LABGEAR_STREAM":"1"}' });
  await build.said("waiting");
  await killed.end("SIGKILL");
  assert.equal((await build.ended).at(-1)?.type, "fail");
  assert.notEqual(processesMarked(marker).length, 0, "there is something to clear away");

  await using agent = await start(folder.path);
  await agent.logged("wait#1 is lost");
  assert.deepEqual(processesMarked(marker), []);
  const { ended, ending, result } = await agent.record("wait", 1);
  assert.equal((ending as { kind: string }).kind, "lost");
  assert.ok(ended);
  assert.equal(result, undefined);
  assert.equal((await agent.record("pass", 1)).result, object(passed.at(-1)).result);
  assert.equal((await (await run("wait")).started).number, 2);
});

test("without servers: the agent brings one of its own, on gearmand's port", { skip }, async (context) => {
  const free = await freePort(4730).catch((error: Error) => error.message);
  if (typeof free === "string") return context.skip(`NOT TESTED HERE: ${free}`);
  await using agent = await TestAgent.launch({ yaml });
  await agent.logged("an embedded one listens on 127.0.0.1:4730");
  await agent.logged((line) => line.msg.startsWith("registered") && line.executor === 0);
  const build = await submit(4730, { function: "build:pass:lab1", data: "{}" });
  assert.equal(object((await build.ended).at(-1)).result, "SUCCESS");
  // A second agent finds it there, and serves it too.
  const other = yaml.replace("box7", "box8");
  await using second = await TestAgent.launch({ yaml: other });
  await second.logged("4730 is used");
  await second.logged((line) => line.msg.startsWith("registered") && line.executor === 0);
  const there = await submit(4730, { function: "build:pass:box8", data: "{}" });
  assert.equal(object((await there.ended).at(-1)).manager, "box8");
});

test("what is queued at the agent's own server waits for the next agent, also when this one is killed", {
  skip,
}, async (context) => {
  const free = await freePort(4730).catch((error: Error) => error.message);
  if (typeof free === "string") return context.skip(`NOT TESTED HERE: ${free}`);
  await using folder = await temporaryFolder();
  const killed = await TestAgent.launch({ yaml, folder: folder.path });
  await killed.logged((line) => line.msg.startsWith("registered") && line.executor === 0);
  const build = await submit(4730, { function: "build:wait", data: '{"LABGEAR_STREAM":"1"}' });
  await build.said("waiting");
  assert.equal((await gearman(4730, ["-b", "-f", "build:pass", "-u", "kept", "{}"])).exitCode, 0);
  await killed.end("SIGKILL");
  await using agent = await TestAgent.launch({ yaml, folder: folder.path });
  await agent.logged("jobs back in the queue: 1");
  await agent.logged((line) => line.uuid === "kept" && line.msg.endsWith("ended: the job passed"));
});
