/** `labgear build` on a real terminal: the line of progress, and Ctrl-C as it is typed. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";
import { Running } from "./running.ts";
import { Screen } from "./screen.ts";

const yaml = `
name: box6
builds: { min-free: 1MiB }
jobs:
  lines: { run: "echo one; sleep 1.5; echo two" }
  pieces: { run: "printf 'half'; sleep 1.5; printf ' line'; sleep 0.5; printf '\\\\033[32mgreen'" }
  wait: { run: "echo waiting; exec sleep 300", grace: 1s }
`;

describe("on a terminal", { skip: lacks("gearmand") }, () => {
  let server: RunningServer;
  let agent: TestAgent;

  before(async () => {
    server = await startGearmand();
    agent = await TestAgent.start({ yaml, ports: [server.port] });
  });

  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  const start = (job: string, columns = 60, env: NodeJS.ProcessEnv = {}) =>
    Running.onTerminal(["build", job, "--server", `127.0.0.1:${server.port}`], { columns, env });

  test("a line of progress is drawn below the output, and nothing of it is left at the end", async () => {
    await using running = start("lines");
    assert.equal(await running.ended, 0, running.stdout);
    assert.match(running.stdout, /lines#1 [━╌]{20} \d+ % /);
    const screen = new Screen(60).write(running.stdout);
    assert.match(screen.lines[0] ?? "", /^lines is queued as/);
    assert.deepEqual(screen.lines.slice(-4, -1), ["one", "two", screen.lines.at(-2)]);
    assert.match(screen.lines.at(-2) ?? "", /^SUCCESS after/);
    assert.equal(screen.lines.at(-1), "");
  });

  test("it is never drawn into an unfinished line, and never wraps", async () => {
    await using running = start("pieces", 30);
    assert.equal(await running.ended, 0, running.stdout);
    const screen = new Screen(30).write(running.stdout);
    assert.ok(screen.lines.includes("half linegreen"), screen.lines.join("\n"));
    assert.ok(running.stdout.includes("\u001b[32mgreen"), "the job's own colour passes");
    const painted = running.stdout.split("\u001b[2m").slice(1);
    assert.ok(painted.length > 0);
    for (const line of painted) assert.ok((line.split("\u001b")[0] ?? "").length < 30, line);
  });

  test("Ctrl-C stops the build; its line goes before ours comes", async () => {
    await using running = start("wait");
    await running.until("stdout", "waiting");
    await running.until("stdout", /wait#\d+ [━╌]{20}/);
    running.child.stdin?.write("\u0003");
    assert.equal(await running.ended, 3, running.stdout);
    const screen = new Screen(60).write(running.stdout);
    assert.ok(!screen.lines.some((line) => /[━╌]/.test(line)), screen.lines.join("\n"));
    assert.match(screen.lines.at(-2) ?? "", /^ABORTED after/);
  });

  test("a dumb terminal gets plain lines", async () => {
    await using running = start("lines", 60, { TERM: "dumb" });
    assert.equal(await running.ended, 0, running.stdout);
    assert.ok(!running.stdout.includes("\u001b"));
  });
});
