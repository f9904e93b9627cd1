/** The commands that talk to the agent on this box. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, writeFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { after, before, describe, test } from "node:test";
import { labgear, TestAgent } from "../support/agent.ts";
import { object, submit } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";
import { Running } from "./running.ts";

const yaml = `
name: box5
host: { classes: [lab1], executors: 2 }
builds: { min-free: 1MiB }
jobs:
  pass: { run: "echo out" }
  fail: { run: "exit 3" }
  binary: { run: "head -c 200000 /dev/zero | tr '\\\\0' '\\\\377'; printf '\\\\0\\\\200\\\\r\\\\n\\\\033[1m'" }
  wait: { run: "echo waiting; exec sleep 300", grace: 1s }
  broken: { run: "echo begin; echo 'main.c:7:3: error: no'; echo more; exit 2" }
  tested:
    junit: [r.xml]
    run: |
      echo '<testsuite><testcase name="ok"/><testcase name="spi"><failure message="expected 0x8488"/></testcase></testsuite>' >r.xml
      exit 1
  tick: { run: "echo one; while [ ! -e $LABGEAR_WORKSPACE/go ]; do sleep 0.1; done; echo two" }
`;

const main = new URL("../../src/main.ts", import.meta.url).pathname;

let server: RunningServer;
let agent: TestAgent;

/** Runs a build to its end. */
const run = async (job: string) =>
  object((await (await submit(server.port, { function: `build:${job}`, data: "{}" })).ended).at(-2));
const stop = (build: string) => labgear(["stop", "box5", build, "--server", `127.0.0.1:${server.port}`]);

describe("on the box", { skip: lacks("gearmand") }, () => {
  before(async () => {
    server = await startGearmand();
    agent = await TestAgent.start({ yaml, ports: [server.port] });
  });

  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  const refused = async (args: string[], expected: string | RegExp, code = 1) => {
    const { exitCode, stdout, stderr } = await agent.command(...args);
    assert.deepEqual([exitCode, stdout], [code, ""], stderr);
    if (typeof expected === "string") assert.equal(stderr, `labgear: ${expected}\n`);
    else assert.match(stderr, expected);
  };

  test("status shows the agent, its job servers, nodes and builds", async () => {
    const build = await submit(server.port, { function: "build:wait", unique: "status", data: "{}" });
    const { number } = await build.started;
    const { exitCode, stdout } = await agent.command("status");
    assert.equal(exitCode, 0);
    assert.match(stdout, /^box5: labgear \S+, running since \S+, pid \d+$/m);
    assert.match(stdout, new RegExp(`^ {2}127\\.0\\.0\\.1:${server.port} `, "m"));
    assert.match(stdout, /^ {2}box5 +ready +lab1$/m);
    assert.match(stdout, new RegExp(`^ {4}executor \\d +wait#${number} \\S+ 0 %$`, "m"));
    const status = JSON.parse((await agent.command("status", "--json")).stdout);
    assert.deepEqual([status.name, status.pid, status.state], ["box5", agent.child.pid, "running"]);
    await stop(`wait#${number}`);
    await build.ended;
  });

  test("builds: running and finished, the newest first, of one job, so many, as JSON", async () => {
    await refused(["builds", "nope"], /there is no job or build nope; the jobs are pass, fail/);
    await run("pass");
    await run("fail");
    const watched = await submit(server.port, { function: "build:wait", unique: "builds", data: "{}" });
    const { number } = await watched.started;
    const { stdout } = await agent.command("builds");
    const [head = "", first = "", second = "", third = ""] = stdout.split("\n");
    assert.match(head, /^BUILD +RESULT +NODE +ASSIGNED +DURATION +CHANGE +REASON$/);
    assert.match(first, new RegExp(`^wait#${number} +running +box5 `));
    assert.match(second, /^fail#1 +FAILURE +box5 .* the job ended with exit code 3$/);
    assert.match(third, /^pass#1 +SUCCESS +box5 /);
    assert.match((await agent.command("builds", "pass", "-n", "1")).stdout, /^BUILD.*\npass#1 [^\n]*\n$/);
    const [newest, ...more] = JSON.parse((await agent.command("builds", "-n", "1", "--json")).stdout);
    assert.deepEqual([newest.uuid, newest.number, more], ["builds", number, []]);
    assert.ok(!("parameters" in newest));
    await stop("builds");
    await watched.ended;
  });

  test("log: byte for byte, by job, number and uuid", async () => {
    await refused(["log", "binary"], "there is no build of binary yet");
    const { number } = await run("binary");
    const file = await agent.file("binary", Number(number), "console.log");
    assert.equal(file.length, 200_008);
    const { uuid } = await agent.record("binary", Number(number));
    for (const name of ["binary", `binary#${number}`, `${uuid}`]) {
      await using running = Running.start(["log", name, "--control", agent.control]);
      const chunks: Buffer[] = [];
      running.child.stdout?.removeAllListeners("data").setEncoding("latin1" as BufferEncoding);
      running.child.stdout?.on("data", (chunk: string) => chunks.push(Buffer.from(chunk, "latin1")));
      assert.equal(await running.ended, 0);
      assert.ok(Buffer.concat(chunks).equals(file), name);
    }
    await refused(["log", "binary#99"], "there is no build binary#99");
    await refused(["log", "nope"], /^labgear: there is no job or build nope; the jobs are pass[^\n]*\n$/);
  });

  test("log -f follows a running build to its end, also one that has no console yet", async () => {
    const build = await submit(server.port, { function: "build:tick", unique: "follow", data: "{}" });
    const { number } = await build.started;
    await using running = Running.start(["log", "tick", "-f", "--control", agent.control]);
    await running.until("stdout", "one\n");
    assert.equal(
      (await agent.command("log", `tick#${number}`)).stdout,
      "one\n",
      "without -f it ends at once",
    );
    const status = await agent.status();
    const index = status.nodes[0]?.executors.find((executor) => executor.build?.job === "tick")?.index;
    await writeFile(`${agent.stateDir}/workspaces/${index}/tick/go`, "");
    assert.equal(await running.ended, 0);
    assert.equal(running.stdout, "one\ntwo\n");
    await build.ended;
  });

  test("a reader that leaves early is no failure; a full disk is", async () => {
    await using running = Running.start(["log", "binary", "--control", agent.control]);
    running.child.stdout?.destroy();
    assert.deepEqual([await running.ended, running.stderr], [0, ""]);
    await using full = await open("/dev/full", "w");
    const options = ["log", "binary", "--control", agent.control];
    const child = spawn(process.execPath, [main, ...options], { stdio: ["ignore", full.fd, "pipe"] });
    const [stderr, [code]] = await Promise.all([
      (child.stderr as Readable).setEncoding("utf8").toArray(),
      once(child, "exit"),
    ]);
    assert.equal(code, 1);
    assert.match(stderr.join(""), /^labgear: ENOSPC: no space left on device, write$/m);
  });

  test("show: why, from its tests or its console; as JSON", async () => {
    const { number } = await run("broken");
    const { stdout } = await agent.command("show", `broken#${number}`);
    assert.match(
      stdout,
      new RegExp(`^broken#${number}\n {2}result +FAILURE\n {2}why +the job ended with exit code 2\n`),
    );
    assert.match(stdout, /^ {2}steps +.*run \d/m);
    assert.match(stdout, /\nthe first error in its console\n {2}2 {2}main\.c:7:3: error: no\n/);
    const record = JSON.parse((await agent.command("show", "broken", "--json")).stdout);
    assert.deepEqual([record.number, record.result, "request" in record], [number, "FAILURE", false]);
    await run("tested");
    assert.match(
      (await agent.command("show", "tested")).stdout,
      /^ {2}tests +1 of 2 failed, 0 skipped$.*\nfailed tests\n {2}spi +expected 0x8488\n$/ms,
    );
    await refused(["show", "nope"], /^labgear: there is no job or build nope; the jobs are pass[^\n]*\n$/);
  });

  test("stop JOB#NUMBER on the box, and the record says who did it", async () => {
    const build = await submit(server.port, { function: "build:wait", unique: "here", data: "{}" });
    const { number } = await build.started;
    const { exitCode, stdout } = await agent.command("stop", `wait#${number}`);
    assert.deepEqual([exitCode, stdout], [0, `wait#${number} is being stopped\n`]);
    await build.ended;
    const shown = await agent.command("show", `wait#${number}`);
    assert.match(shown.stdout, /^ {2}result +ABORTED\n {2}why +stopped on the box by \S+$/m);
    await refused(["stop", `wait#${number}`], `wait#${number} has ended`);
    await refused(["stop", "wait#999"], "there is no build wait#999");
  });

  test("pause and resume, with a reason that can't steer a terminal; an unknown node is refused", async () => {
    await refused(["pause", "nope"], "this box has no node nope; it has box5");
    await refused(["resume", "nope"], "this box has no node nope; it has box5");
    const { exitCode, stdout } = await agent.command("pause", "box5", "--reason", "new \u001b[31mSSD");
    assert.equal(exitCode, 0);
    assert.equal(stdout, "box5 takes no builds until `labgear resume box5`\n");
    const paused = await agent.command("status");
    assert.match(paused.stdout, /^ {2}box5 +held +lab1\n +paused: new \\u\{1b\}\[31mSSD$/m);
    const queued = await submit(server.port, { function: "build:pass", unique: "paused", data: "{}" });
    const { stdout: resumed } = await agent.command("resume", "--json");
    assert.equal(JSON.parse(resumed).nodes[0].state, "ready");
    assert.equal(object((await queued.ended).at(-1)).result, "SUCCESS");
  });

  test("drain returns when the builds have ended, and resume takes it back", async () => {
    const build = await submit(server.port, { function: "build:wait", unique: "drain", data: "{}" });
    await build.started;
    await using drain = Running.start(["drain", "--control", agent.control]);
    await using watcher = Running.start(["log", "wait", "-f", "--control", agent.control]);
    await watcher.until("stdout", "waiting");
    assert.equal(drain.child.exitCode, null);
    await stop("drain");
    assert.equal(await drain.ended, 0, drain.stderr);
    assert.match(drain.stdout, /^box5 has drained: no build runs[^\n]*\n$/);
    assert.equal((await agent.command("resume")).stdout, "box5 takes builds again\n");
    assert.equal((await run("pass")).result, "SUCCESS");
  });

  test("reload: every mistake with its line, exit 2, and the old configuration in force", async () => {
    await writeFile(agent.config, "nmae: x\nhost: { executors: 0 }\njobs: { pass: { run: 3 } }\n");
    const { exitCode, stdout, stderr } = await agent.command("reload");
    assert.deepEqual([exitCode, stdout], [2, ""]);
    const lines = stderr.trim().split("\n");
    assert.deepEqual(
      lines.map((line) => line.slice(0, line.indexOf(": "))),
      [1, 2, 3].map((line) => `${agent.config}:${line}`),
    );
    assert.equal((await run("pass")).result, "SUCCESS");
    const servers = `servers: ["127.0.0.1:${server.port}"]\n`;
    await writeFile(agent.config, servers + yaml.replace("  pass:", "  passes:"));
    const reloaded = await agent.command("reload");
    assert.deepEqual([reloaded.exitCode, reloaded.stdout], [0, `${agent.config} read again: 1 node\n`]);
    const functions = (await agent.status()).nodes[0]?.functions ?? [];
    assert.ok(functions.includes("build:passes") && !functions.includes("build:pass"));
  });

  test("an agent that is gone, or killed under an answer: a line, exit 1", async () => {
    const nowhere = await labgear(["status", "--control", "/nowhere/control.sock"]);
    assert.equal(nowhere.exitCode, 1);
    assert.match(nowhere.stderr, /no agent listens on \/nowhere\/control\.sock: start it/);
    const build = await submit(server.port, { function: "build:wait", unique: "killed", data: "{}" });
    await build.started;
    await using running = Running.start(["log", "wait", "-f", "--control", agent.control]);
    await running.until("stdout", "waiting");
    await agent.end("SIGKILL");
    assert.equal(await running.ended, 1);
    assert.match(running.stderr, /^labgear: the agent on \S+ ended in the middle of its answer\n$/);
    await refused(["status"], /^labgear: no agent listens on [^\n]*\n$/);
  });
});

test("restart --when-idle waits for the build, then the same process starts again", {
  skip: lacks("gearmand"),
}, async () => {
  await using own = await startGearmand();
  await using box = await TestAgent.start({ yaml, ports: [own.port] });
  const first = await box.logged("is up");
  const before = await box.status();
  const build = await submit(own.port, { function: "build:wait", unique: "restart", data: "{}" });
  await build.started;
  assert.match(
    (await box.command("restart", "--when-idle")).stdout,
    /^box5 restarts when its builds have ended; 1 build runs\n$/,
  );
  await labgear(["stop", "box5", "restart", "--server", `127.0.0.1:${own.port}`]);
  await build.ended;
  await box.logged((line) => line.msg.includes("is up") && line !== first);
  const after = await box.status();
  assert.equal(after.pid, before.pid);
  assert.notEqual(after.since, before.since);
  assert.equal(after.state, "running");
});
