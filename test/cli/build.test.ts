/** `labgear build` and `labgear stop`, with the agent behind Debian's gearmand. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { labgear, TestAgent } from "../support/agent.ts";
import { submit } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";
import { Running } from "./running.ts";

const skip = lacks("gearmand");

const yaml = `
name: box8
host: { classes: [lab1], executors: 1 }
builds: { min-free: 1MiB }
jobs:
  pass: { run: "echo out; echo err >&2" }
  fail: { run: "exit 3" }
  slow: { run: "exec sleep 300", timeout: 1s, grace: 1s }
  wait: { run: "echo waiting; exec sleep 300", grace: 1s }
  show: { run: "echo colour=$COLOUR", parameters: [COLOUR] }
  odd: { run: "printf '\\\\033[31mred no newline'" }
`;

let server: RunningServer;
let agent: TestAgent;
const build = (...args: string[]) => labgear(["build", ...args, "--server", address()]);
const address = () => `127.0.0.1:${server.port}`;
const jsonLines = (text: string) =>
  text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe("build", { skip }, () => {
  before(async () => {
    server = await startGearmand();
    agent = await TestAgent.start({ yaml, ports: [server.port] });
  });

  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  test("0 for SUCCESS: standard output is the build's as it is, our lines are on standard error", async () => {
    const { exitCode, stdout, stderr } = await build("pass");
    assert.deepEqual([exitCode, stdout], [0, "out\nerr\n"]);
    const url = "http://127\\.0\\.0\\.1:\\d+/builds/pass/\\d+";
    const lines = [
      "pass is queued as [0-9a-f]{32}",
      `pass#\\d+ runs on box8: ${url}`,
      `SUCCESS after .*s; pass#\\d+ on box8: ${url}`,
    ];
    assert.match(stderr, new RegExp(`^${lines.join("\\n")}\\n$`));
  });

  test("1 for FAILURE, 4 for TIMED_OUT", async () => {
    const failed = await build("fail");
    assert.equal(failed.exitCode, 1);
    assert.equal(failed.stdout, "[labgear] the job ended with exit code 3\n");
    assert.match(
      failed.stderr,
      /^FAILURE after .*s: the job ended with exit code 3 \(failed\); fail#\d+ on box8: http:\S+\n$/m,
    );
    const late = await build("slow");
    assert.equal(late.exitCode, 4);
    assert.match(
      late.stderr,
      /^TIMED_OUT after .*s: the job's timeout of 1s ran out \(timeout\); slow#\d+ on box8: /m,
    );
  });

  test("--node takes a class or a name; one that isn't there is not registered", async () => {
    for (const node of ["lab1", "box8"]) assert.equal((await build("pass", "--node", node)).exitCode, 0);
    const { exitCode, stdout, stderr } = await build("pass", "--node", "lab2");
    assert.deepEqual([exitCode, stdout], [6, ""]);
    assert.match(stderr, /^labgear: no node lab2 runs pass now: build:pass:lab2 is not registered[^\n]*\n$/);
  });

  test("-p sends parameters, values with = and new lines too; a name in the job's list is in its environment", async () => {
    const given = ["-p", "COLOUR=a=b", "-p", "TWO=x\ny", "-p", "EMPTY=", "-p", "ZUUL_UUID=mine-1"];
    const { stdout, stderr } = await build("show", ...given, "--client-timeout", "0");
    assert.match(stderr, /^show is queued as mine-1$/m);
    assert.equal(stdout, "colour=a=b\n");
    const { parameters } = await agent.record("show", 1);
    await assert.rejects(agent.file("show", 1, "parameters.json"), { code: "ENOENT" }, "gone with the build");
    const { LABGEAR_KEY: key, ...sent } = parameters as Record<string, string>;
    assert.equal(key, "[masked]");
    assert.deepEqual(sent, {
      ...{ ZUUL_UUID: "mine-1", LABGEAR_STREAM: "1", COLOUR: "a=b", TWO: "x\ny", EMPTY: "" },
    });
  });

  test("--json prints an object a line", async () => {
    const { exitCode, stdout } = await build("pass", "--json");
    const events = jsonLines(stdout);
    assert.equal(exitCode, 0);
    const order = events.map(({ event }) => event).filter((event) => event !== "progress");
    assert.deepEqual([...new Set(order)], ["created", "started", "output", "ended"]);
    const text = events.filter(({ event }) => event === "output").map((entry) => entry.text);
    assert.equal(text.join(""), "out\nerr\n");
    const [created] = events;
    assert.equal(created?.job, "pass");
    const started = events.find(({ event }) => event === "started");
    assert.deepEqual([started?.name, started?.manager, started?.node_name], ["pass", "box8", "box8"]);
    const { event: _, ...facts } = started ?? {};
    assert.deepEqual(events.at(-1), {
      ...{ event: "ended", result: "SUCCESS", reason: "the job passed", cause: "passed" },
      ...facts,
    });
  });

  test("an unfinished line is finished before ours; the job's own escape sequences pass", async () => {
    const { stdout, stderr } = await build("odd");
    assert.equal(stdout, "\u001b[31mred no newline");
    assert.match(stderr, /\n\nSUCCESS after/);
    assert.ok(!stderr.includes("\u001b"), "none of ours in a pipe");
  });

  test("--detach returns at once, and says how to find the build again", async () => {
    const { exitCode, stdout, stderr } = await build("pass", "--detach");
    assert.deepEqual([exitCode, stdout], [0, ""]);
    const [, uuid = ""] =
      /^pass is queued as (\S+)\nfind it with `labgear log UUID -f`[^\n]*\n$/.exec(stderr) ?? [];
    const ended = await agent.logged((line) => line.uuid === uuid && line.msg.includes("ended"));
    assert.equal(ended.result, "SUCCESS");
    assert.equal((await agent.command("log", uuid)).stdout, "out\nerr\n");
  });

  test("Ctrl-C stops a running build: ABORTED, 3", async () => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      await using running = Running.start(["build", "wait", "--server", address()]);
      await running.until("stdout", "waiting\n");
      running.child.kill(signal);
      assert.equal(await running.ended, 3, running.stderr);
      assert.match(running.stderr, /^stopping the build; press Ctrl-C again to leave/m);
      assert.match(running.stderr, /^ABORTED after .*s: stopped from afar \(stopped\); wait#\d+ on box8: /m);
    }
  });

  test("Ctrl-C takes a queued build out of the queue: 3, and it never runs", async () => {
    await using first = Running.start(["build", "wait", "--server", address()]);
    await first.until("stdout", "waiting\n");
    await using second = Running.start(["build", "wait", "--server", address(), "-p", "ZUUL_UUID=queued-1"]);
    await second.until("stderr", "is queued as");
    second.child.kill("SIGINT");
    assert.equal(await second.ended, 3, second.stderr);
    assert.match(second.stderr, /^ABORTED after .*: cancelled while it was queued$/m);
    first.child.kill("SIGINT");
    assert.equal(await first.ended, 3);
    assert.equal((await build("pass")).exitCode, 0);
    assert.ok(!agent.log.some((line) => line.uuid === "queued-1"));
  });

  test("a second Ctrl-C leaves with 130", async () => {
    await using running = Running.start(["build", "wait", "--server", address(), "-p", "ZUUL_UUID=twice"]);
    await running.until("stdout", "waiting\n");
    // The agent is held, so that the end can't come between the two.
    agent.child.kill("SIGSTOP");
    try {
      running.child.kill("SIGINT");
      await running.until("stderr", "stopping the build");
      running.child.kill("SIGINT");
      assert.equal(await running.ended, 130);
    } finally {
      agent.child.kill("SIGCONT");
    }
    await agent.logged((line) => line.uuid === "twice" && line.msg.includes("ended"));
  });

  test("stop: by number and by uuid; who waits for the build gets 3", async () => {
    for (const name of ["number", "uuid"]) {
      const watched = await submit(server.port, {
        function: "build:wait",
        unique: `stop-${name}`,
        data: "{}",
      });
      await using running = Running.start([
        "build",
        "wait",
        "--server",
        address(),
        "-p",
        `ZUUL_UUID=stop-${name}`,
      ]);
      const { number } = await watched.started;
      const build = name === "number" ? `wait#${number}` : `stop-${name}`;
      await running.until("stderr", "is queued as");
      const { exitCode, stdout } = await labgear(["stop", "box8", build, "--server", address()]);
      assert.deepEqual([exitCode, stdout], [0, `${build} is being stopped\n`]);
      assert.equal(await running.ended, 3);
      await watched.ended;
      const again = await labgear(["stop", "box8", build, "--server", address()]);
      const hint = name === "number" ? "" : "; `labgear stop stop-uuid` finds it elsewhere, and in the queue";
      assert.deepEqual(
        [again.exitCode, again.stderr],
        [1, `labgear: box8 is not running build ${build}${hint}\n`],
      );
    }
    const nobody = await labgear(["stop", "box9", "wait#1", "--server", address()]);
    assert.equal(nobody.exitCode, 6);
    assert.match(
      nobody.stderr,
      /^labgear: no manager box9 is connected: stop:box9 is not registered[^\n]*\n$/,
    );
  });

  test("a reader that leaves early doesn't change the exit code", async () => {
    await using running = Running.start(["build", "fail", "--server", address()]);
    running.child.stdout?.destroy();
    assert.equal(await running.ended, 1, running.stderr);
    assert.match(running.stderr, /^FAILURE after/m);
  });

  test("functions shows what is registered, queued and running", async () => {
    const { exitCode, stdout } = await labgear(["functions", "--server", address()]);
    assert.equal(exitCode, 0);
    assert.match(stdout, /^FUNCTION +QUEUED +RUNNING +WORKERS +SERVER$/m);
    assert.match(stdout, new RegExp(`^build:pass:lab1 +0 +0 +1 +127\\.0\\.0\\.1:${server.port}$`, "m"));
    const rows = JSON.parse((await labgear(["functions", "--server", address(), "--json"])).stdout);
    const row = rows.find((entry: { function: string }) => entry.function === "stop:box8");
    assert.deepEqual(row, { server: address(), function: "stop:box8", queued: 0, running: 0, workers: 1 });
  });

  test("5 when the infrastructure ends the build", async () => {
    await using other = await TestAgent.start({
      yaml: yaml.replace("box8", "box9").replaceAll("wait:", "wait9:"),
      ports: [server.port],
    });
    await using running = Running.start(["build", "wait9", "--server", address()]);
    await running.until("stdout", "waiting\n");
    other.child.kill("SIGTERM");
    await other.logged("ending when the running builds have ended");
    other.child.kill("SIGTERM");
    assert.equal(await running.ended, 5, running.stderr);
    assert.match(running.stderr, /^no result after .*: the agent is going down \(box\); wait9#1 on box9: /m);
  });
});
