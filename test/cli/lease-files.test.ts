/** Files to and from a leased board: by options around a command, and by the menu on a terminal. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { becomes } from "../support/boards.ts";
import { lacks, part, partsEnv } from "../support/parts.ts";
import { seeded, seededBytes } from "../support/random.ts";
import { type RunningServer, startGearmand, temporaryFolder } from "../support/servers.ts";
import { Running } from "./running.ts";

describe("a lease of a board with a shell", { skip: lacks("gearmand", "socat", "busybox") }, () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let server: RunningServer;
  let board: ChildProcess;
  let agent: TestAgent;
  let readies = 1;
  const again = () => becomes(agent, "sh-1", "ready", ++readies);
  const here = (name: string) => join(folder.path, name);
  const target = () => ["lease", "sh", "--server", `127.0.0.1:${server.port}`];

  before(async () => {
    folder = await temporaryFolder();
    server = await startGearmand();
    const shell = `EXEC:"${part("busybox")} sh",pty,stderr,setsid,ctty,sane`;
    board = spawn(part("socat"), [`PTY,link=${here("tty")},rawer,wait-slave`, shell], {
      env: { ...partsEnv, PS1: "# " },
      stdio: "ignore",
    });
    agent = await TestAgent.start({
      yaml: `
name: box7
devices:
  sh-1:
    classes: [sh]
    port: ${here("tty")}
    console: linux
    boot-timeout: 60s
    lease: { max: 1h }
`,
      ports: [server.port],
    });
    await becomes(agent, "sh-1", "ready");
  });
  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    if (board) {
      const exited = once(board, "exit");
      board.kill("SIGKILL");
      await exited;
    }
    await server?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
  });

  test("--put comes before the command, --get behind it; both are verified", async () => {
    const bytes = seededBytes(seeded(1), 20_000);
    await writeFile(here("a.bin"), bytes);
    await writeFile(here("empty"), "");
    const files = [
      "--put",
      `${here("a.bin")}:${here("on-board")}`,
      "--get",
      `${here("on-board")}:${here("b.bin")}`,
    ];
    const more = ["--put", `${here("empty")}:${here("empty-on-board")}`];
    await using running = Running.start([
      ...target(),
      ...files,
      ...more,
      "--",
      "cmp",
      here("a.bin"),
      here("on-board"),
    ]);
    assert.equal(await running.ended, 0, running.stderr);
    assert.match(running.stderr, /a\.bin is on sh-1 as \S+on-board: 19\.5KiB, verified/);
    assert.match(running.stderr, /on-board of sh-1 is here as \S+b\.bin: 19\.5KiB, verified/);
    assert.deepEqual(await readFile(here("b.bin")), Buffer.from(bytes));
    assert.equal((await readFile(here("empty-on-board"))).length, 0);
    await again();
  });

  test("what can't be transferred is said, and the lease ends", async () => {
    await using running = Running.start([...target(), "--put", "/nonexistent:/tmp/x", "--", "true"]);
    assert.equal(await running.ended, 2);
    assert.match(running.stderr, /^labgear: --put: \/nonexistent can't be read: ENOENT[^\n]*\n$/);
    await using missing = Running.start([...target(), "--", "/nonexistent"]);
    assert.equal(await missing.ended, 1);
    assert.match(missing.stderr, /\nlabgear: \/nonexistent can't be run: [^\n]*\n$/);
    await again();
    await using getting = Running.start([...target(), "--get", `/nonexistent:${here("none")}`, "--", "true"]);
    assert.equal(await getting.ended, 1, getting.stderr);
    assert.match(getting.stderr, /labgear: \/nonexistent wasn't transferred: get: .*nonexistent/);
    await again();
  });

  test("the menu sends and gets a file, and the shell is there afterwards", async () => {
    await writeFile(here("menu.txt"), "from the menu\n");
    await using running = Running.onTerminal([...target()], { columns: 300 });
    const { stdin } = running.child;
    await running.until("stdout", "Ctrl-] opens the menu");
    // The board is the holder's as labgear found it.
    await running.until("stdout", /[\r\n]# $/);
    const before = running.stdout.length;
    stdin?.write("\u001ds");
    await running.until("stdout", "send FILE:PATH-ON-THE-BOARD> ");
    stdin?.write(`${here("menu.txt")}x\u007f:${here("sent.txt")}\r`);
    await running.until("stdout", /menu\.txt is on sh-1 as \S+sent\.txt: 14B, verified/);
    stdin?.write(`echo $((6 * 7)); cat ${here("sent.txt")}\r`);
    await running.until("stdout", /\n42\r+\nfrom the menu/);
    stdin?.write("\u001dg");
    await running.until("stdout", "get PATH-ON-THE-BOARD:FILE> ");
    stdin?.write(`${here("sent.txt")}:${here("back.txt")}\r`);
    await running.until("stdout", /sent\.txt of sh-1 is here as \S+back\.txt: 14B, verified/);
    stdin?.write("\u001dg");
    await running.until("stdout", /get PATH-ON-THE-BOARD:FILE> $/);
    stdin?.write("half\u0003\u001dq");
    assert.equal(await running.ended, 0, running.stdout);
    assert.equal(await readFile(here("back.txt"), "utf8"), "from the menu\n");
    // What carries a file isn't shown.
    assert.doesNotMatch(running.stdout.slice(before), /base64|sha256sum|stty/);
    await again();
  });

  test("a transfer that takes too long is cancelled, and the board goes on", async () => {
    await writeFile(here("big.bin"), Buffer.alloc(64 * 1024 * 1024, "big"));
    await using running = Running.onTerminal([...target()], { columns: 300 });
    const { stdin } = running.child;
    await running.until("stdout", "Ctrl-] opens the menu");
    stdin?.write(`\u001ds`);
    await running.until("stdout", "send FILE:PATH-ON-THE-BOARD> ");
    stdin?.write(`${here("big.bin")}:${here("big-on-board")}\r`);
    await running.until("stdout", /big\.bin: [\d.]+\w*B of 64MiB/);
    stdin?.write("\u001d");
    await running.until("stdout", "c cancels the transfer");
    stdin?.write("c");
    await running.until("stdout", /big\.bin wasn't transferred: put: cancelled/);
    stdin?.write("echo $((4700 + 11))\r");
    await running.until("stdout", /\n4711\r+\n/);
    stdin?.write("\u001dq");
    assert.equal(await running.ended, 0, running.stdout);
    await again();
  });
});
