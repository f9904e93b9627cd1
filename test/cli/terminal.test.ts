/**
 * On a real terminal: the line of progress of `labgear build`, Ctrl-C as it is typed, and which control sequences of a build or a
 * board get through.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setImmediate as nextTick } from "node:timers/promises";
import { labgear, TestAgent } from "../support/agent.ts";
import { becomes, startNetworkBoard } from "../support/boards.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";
import { Running } from "./running.ts";
import { Screen } from "./screen.ts";

/** Title, clipboard, alternate screen, mouse, and two questions; in a shell's printf, split where the chunks of a console are. */
const hostile = String.raw`\033]0;title\007\033]52;c;ZXZpbA==\007\033[?1049h\033[?1000h\033[c\033]10;?\033\\\033P$qm\033\\`;
const actedOn = Buffer.from(
  hostile.replaceAll(/\\(033|007|\\)/g, (_, code) =>
    code === "033" ? "\u001b" : code === "007" ? "\u0007" : "\\",
  ),
);

const yaml = (boardPort: number) => `
name: box6
builds: { min-free: 1MiB }
jobs:
  lines: { run: "echo one; sleep 1.5; echo two" }
  pieces: { run: "printf 'half'; sleep 1.5; printf ' line'; sleep 0.5; printf '\\\\033[32mgreen'" }
  hostile: { run: "printf 'bad[${hostile.replaceAll("\\", "\\\\")}]\\\\033[32mgreen\\\\033[0m\\\\tend\\\\n'" }
  wait: { run: "echo waiting; exec sleep 300", grace: 1s }
devices: { mcu-1: { classes: [mcu], port: "tcp://127.0.0.1:${boardPort}", console: raw } }
`;

describe("on a terminal", { skip: lacks("gearmand") }, () => {
  let server: RunningServer;
  let agent: TestAgent;
  let board: Awaited<ReturnType<typeof startNetworkBoard>>;

  before(async () => {
    server = await startGearmand();
    board = await startNetworkBoard();
    agent = await TestAgent.start({ yaml: yaml(board.port), ports: [server.port] });
  });

  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await board?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  const start = (job: string, columns = 120, env: NodeJS.ProcessEnv = {}) =>
    Running.onTerminal(["build", job, "--server", `127.0.0.1:${server.port}`], { columns, env });

  test("a line of progress is drawn below the output, and nothing of it is left at the end", async () => {
    await using running = start("lines");
    assert.equal(await running.ended, 0, running.stdout);
    assert.match(running.stdout, /lines#1 [━╌]{20} \d+ % /);
    const screen = new Screen(120).write(running.stdout);
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
    const screen = new Screen(120).write(running.stdout);
    assert.ok(!screen.lines.some((line) => /[━╌]/.test(line)), screen.lines.join("\n"));
    assert.match(screen.lines.at(-2) ?? "", /^ABORTED after/);
  });

  test("a dumb terminal gets plain lines", async () => {
    await using running = start("lines", 60, { TERM: "dumb" });
    assert.equal(await running.ended, 0, running.stdout);
    assert.ok(!running.stdout.includes("\u001b"));
  });

  const clean = "bad[]\u001b[32mgreen\u001b[0m\tend\r\n";

  test("of a build's sequences only colours reach the terminal; --raw passes all, and so does a pipe", async () => {
    await using building = start("hostile");
    assert.equal(await building.ended, 0, building.stdout);
    assert.ok(building.stdout.includes(clean), JSON.stringify(building.stdout));

    const shownBy = async (...args: string[]) => {
      const options = ["log", "hostile#1", "--control", agent.control, ...args];
      await using running = Running.onTerminal(options, { columns: 60 });
      assert.equal(await running.ended, 0, running.stdout);
      return running.stdout;
    };
    assert.equal(await shownBy(), clean);
    assert.equal(await shownBy("-f"), clean);
    const whole = clean.replace("[]", `[${actedOn}]`);
    assert.equal(await shownBy("--raw"), whole);
    const piped = await labgear(["log", "hostile#1", "--control", agent.control]);
    assert.equal(piped.stdout, whole.replace("\r\n", "\n"));

    const arguments_ = ["build", "hostile", "--raw", "--server", `127.0.0.1:${server.port}`];
    await using raw = Running.onTerminal(arguments_, { columns: 60 });
    assert.equal(await raw.ended, 0, raw.stdout);
    assert.ok(raw.stdout.includes(whole), JSON.stringify(raw.stdout));
  });

  test("of a board's sequences only colours reach the terminal, wherever they are cut", async () => {
    await becomes(agent, "mcu-1", "ready");
    const args = ["console", "mcu-1", "--control", agent.control];
    await using running = Running.onTerminal(args, { columns: 60 });
    await using raw = Running.onTerminal([...args, "--raw"], { columns: 60 });
    board.say("ready\n");
    for (const watcher of [running, raw]) await watcher.until("stdout", "ready\r\n");
    for (const byte of `<${actedOn}>\u001b[31mred\u001b[0m\nend\n`) {
      board.say(byte);
      await nextTick();
    }
    for (const watcher of [running, raw]) await watcher.until("stdout", "end\r\n");
    assert.equal(running.stdout, "ready\r\n<>\u001b[31mred\u001b[0m\r\nend\r\n");
    assert.ok(raw.stdout.includes(`<${actedOn}>`), JSON.stringify(raw.stdout));
  });
});
