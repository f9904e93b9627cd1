/** `labgear investigate` with a real job server, and an agent with two boards of one class. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { execa } from "execa";
import { investigate as runAgain } from "#/cli/investigate/runs.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { type LogLine, labgear, TestAgent } from "../../support/agent.ts";
import { becomes, startNetworkBoard } from "../../support/boards.ts";
import { lacks } from "../../support/parts.ts";
import { startGearmand } from "../../support/servers.ts";
import { Running } from "../running.ts";

const timeoutMs = 110_000;

describe("labgear investigate", { skip: lacks("gearmand") }, () => {
  const resources = new AsyncDisposableStack();
  let agent: TestAgent;
  let boards: Awaited<ReturnType<typeof startNetworkBoard>>[];
  let server: ServerAddress;
  let at: string[];

  before(async () => {
    const { port } = resources.use(await startGearmand());
    server = { host: "127.0.0.1", port };
    boards = [resources.use(await startNetworkBoard()), resources.use(await startNetworkBoard())];
    const [first, second] = boards.map(
      (board) => `classes: [mcu], port: "tcp://127.0.0.1:${board.port}", console: raw`,
    );
    const yaml = `
name: rack7
builds: { min-free: 1MiB }
jobs:
  smoke: { nodes: [mcu], trust: lab, inputs: { app: { max: 1KiB } }, run: '. "$LABGEAR_INPUT_APP"' }
  boot: { nodes: [mcu], run: 'test "$LABGEAR_NODE" != mcu-1' }
  wait: { nodes: [mcu], run: 'test "$LABGEAR_NODE" != mcu-1; read -r line <"$LABGEAR_WORKSPACE/../../../words"' }
  hang: { nodes: [mcu], run: "tail -f /dev/null" }
  solo: { nodes: [mcu-1], run: "false" }
devices:
  mcu-1: { ${first} }
  mcu-2: { ${second} }
`;
    agent = resources.use(await TestAgent.start({ yaml, ports: [port] }));
    for (const name of ["mcu-1", "mcu-2"]) await becomes(agent, name, "ready");
    at = ["--server", `127.0.0.1:${port}`];
  });
  after(() => resources.disposeAsync());

  const build = async (expectedCode: number, ...args: string[]) => {
    const { exitCode, stderr } = await labgear(["build", ...args, ...at], { timeoutMs });
    assert.equal(exitCode, expectedCode, stderr);
  };
  const investigate = (...args: string[]) => labgear(["investigate", "rack7", ...args, ...at], { timeoutMs });
  const refused = async (build: string, expected: RegExp) => {
    const { exitCode, stdout, stderr } = await investigate(build);
    assert.deepEqual([exitCode, stdout], [1, ""], stderr);
    assert.match(stderr.split("\n").at(-2) ?? "", expected);
  };

  test("software: it fails on both boards, and what passed last passes on both", async () => {
    const file = async (name: string, text: string) => {
      const path = join(agent.folder, name);
      await writeFile(path, text);
      return ["--file", `app=${path}`, "--node", "mcu-1"];
    };
    const bad = await file("bad", "exit 3\n");
    await build(0, "smoke", ...(await file("good", "true\n")));
    await build(1, "smoke", ...bad);
    const { exitCode, stdout, stderr } = await investigate("smoke#2", "--json");
    assert.equal(exitCode, 0, stderr);
    const found = JSON.parse(stdout);
    assert.equal(found.verdict, "software");
    assert.deepEqual([found.board, found.sibling, found.passed], ["mcu-1", "mcu-2", "smoke#1"]);
    const runs = found.runs.map(({ node, inputs, result }: Record<string, string>) => [node, inputs, result]);
    assert.deepEqual(runs.slice(0, 4), [
      ["mcu-1", "failed", "FAILURE"],
      ["mcu-2", "failed", "FAILURE"],
      ["mcu-1", "passed", "SUCCESS"],
      ["mcu-2", "passed", "SUCCESS"],
    ]);

    const digest = createHash("sha256").update("exit 3\n").digest("hex");
    await rm(join(agent.stateDir, "inputs", "kept", digest));
    await refused("smoke#2", /^labgear: smoke#2 of rack7: its input app is gone from its box$/);
  });

  test("board: only that one fails", async () => {
    await build(1, "boot", "--node", "mcu-1");
    const { exitCode, stdout, stderr } = await investigate("boot#1", "--auto");
    assert.equal(exitCode, 0, stderr);
    const { description } = await agent.record("boot", 1);
    assert.match(`${description}`, /^board: mcu-1 fails /);
    assert.match(
      stdout,
      /^BUILD +NODE +INPUTS +RESULT +TOOK +PAGE\nboot#2 +mcu-1 +its own +FAILURE \(failed\) /,
    );
    assert.match(stdout, /^board: mcu-1 fails (\d+) of \1, its sibling mcu-2 0 of \1$/m);
    assert.match(stderr, /^\[no build that passed is repeated: it has no inputs/m);
  });

  test("what can't be repeated is refused in a line", async () => {
    await build(0, "boot", "--node", "mcu-2");
    const { stdout } = await labgear(["builds", "boot", "--json", "--control", agent.control]);
    const passed = JSON.parse(stdout).find(({ result }: { result: string }) => result === "SUCCESS");
    await refused(`boot#${passed.number}`, /: it passed: there is nothing to investigate$/);
    await build(1, "solo", "-p", "DB_PASSWORD=x");
    await refused("solo#1", /: it can't be repeated: its record masks DB_PASSWORD$/);
    await build(1, "solo");
    await refused("solo#2", /: mcu-1 has no sibling: no other node of class mcu takes solo now$/);
    const { exitCode, stderr } = await investigate("solo#2", "--auto");
    assert.deepEqual([exitCode, stderr], [0, "[solo#1 failed, too: only a first failure is investigated]\n"]);
    await refused("solo#9", /^labgear: solo#9 of rack7: /);
    const gone = await labgear(["investigate", "rack8", "solo#1", ...at]);
    assert.equal(gone.exitCode, 6);
  });

  test("a run that is longer than the minutes left is stopped, and says nothing", async () => {
    const { runs, why, interrupted } = await runAgain({
      server,
      original: {
        ...{ job: "hang", number: 1, node: "mcu-2", target: undefined },
        ...{ parameters: {}, inputs: [], outcome: "failed" },
      },
      ...{ sibling: "mcu-1", passed: undefined, maxMs: 5000, say() {}, onRun() {} },
    });
    assert.deepEqual([runs, interrupted], [[], false]);
    // On a loaded machine it may not even have begun.
    assert.match(why, /^(5s of board time are used up|mcu-2 took no build within 5s)$/);
  });

  // The last one: it takes the board away.
  test("a board that goes out of order meanwhile has failed", async () => {
    await execa("mkfifo", [join(agent.stateDir, "words")]);
    await build(1, "wait", "--node", "mcu-1");
    await using running = Running.start(["investigate", "rack7", "wait#1", "--json", ...at]);
    await running.until("stderr", "wait#2 on mcu-1: FAILURE");
    const isGone = ({ device, state }: LogLine) => device === "mcu-1" && state === "absent";
    const earlier = agent.log.filter(isGone).length;
    await boards[0]?.refuse();
    await agent.logged(isGone, earlier + 1);
    await writeFile(join(agent.stateDir, "words"), "a word\n");
    await running.ended;
    const { runs, sentence } = JSON.parse(running.stdout);
    assert.deepEqual(
      runs.map(({ build, node, outcome, cause }: Record<string, string>) => [build, node, outcome, cause]),
      [
        ["wait#2", "mcu-1", "failed", "failed"],
        ["wait#3", "mcu-2", "passed", "passed"],
        ["none", "mcu-1", "failed", "unplugged"],
      ],
    );
    assert.match(
      sentence,
      /^can't tell: mcu-1 is out of order \(unplugged\) \(2 of 2 on mcu-1, 0 of 1 on mcu-2; .*board \d+ %/,
    );
  });
});
