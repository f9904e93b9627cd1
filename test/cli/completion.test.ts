/** Completions in real shells, with what an agent and its job server have. */
import assert from "node:assert/strict";
import { chmod, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { execa } from "execa";
import { labgear, neutralEnv, TestAgent } from "../support/agent.ts";
import { lastData, submit } from "../support/clients.ts";
import { lacks, part, partsEnv } from "../support/parts.ts";
import { freePort, patienceMs, startGearmand } from "../support/servers.ts";

const main = new URL("../../src/main.ts", import.meta.url).pathname;

describe("completions", { skip: lacks("gearmand", "zsh", "fish") }, () => {
  const resources = new AsyncDisposableStack();
  let env: NodeJS.ProcessEnv;
  let folder: string;

  before(async () => {
    const server = resources.use(await startGearmand());
    const yaml = `
name: rack7
host: { classes: [fast-disk] }
jobs:
  hello: { run: "true" }
devices:
  mcu-1: { classes: [mcu], port: "tcp://127.0.0.1:${await freePort()}", console: raw }
`;
    const agent = resources.use(await TestAgent.start({ yaml, ports: [server.port] }));
    await lastData(await submit(server.port, { function: "build:hello", unique: "u-1", data: "" }));
    folder = agent.folder;
    const command = join(folder, "labgear");
    await writeFile(
      command,
      `#!/bin/sh\nexec "${process.execPath}" --disable-warning=ExperimentalWarning "${main}" "$@"\n`,
    );
    await chmod(command, 0o755);
    env = {
      ...partsEnv,
      ...neutralEnv,
      ...{ PATH: `${folder}:${process.env.PATH}`, HOME: folder, TERM: "dumb", LC_ALL: "C.UTF-8" },
      ...{ LABGEAR_CONTROL: agent.control, LABGEAR_SERVER: `127.0.0.1:${server.port}` },
    };
    for (const [shell, file] of [
      ["bash", "labgear.bash"],
      ["zsh", "_labgear"],
      ["fish", "labgear.fish"],
    ] as const) {
      const { stdout, stderr } = await labgear(["completion", shell]);
      assert.equal(stderr, "");
      await writeFile(join(folder, file), stdout);
    }
  });
  after(() => resources.disposeAsync());

  const lines: readonly (readonly [line: string, wanted: readonly string[]])[] = [
    ["labgear doc", ["doctor"]],
    ["labgear log ", ["hello#1"]],
    ["labgear stop ", ["hello#1"]],
    ["labgear pause ", ["rack7", "mcu-1"]],
    ["labgear console ", ["mcu-1"]],
    ["labgear build ", ["hello"]],
    ["labgear build hello --node f", ["fast-disk"]],
    ["labgear fetch ", ["rack7"]],
    ["labgear fetch rack7 ", ["hello#1"]],
    ["labgear agent --log-level w", ["warn"]],
  ];

  /** Completes again until all is there: it waits only so long for an agent, which a loaded machine may let answer late. */
  const offers = async (line: string, wanted: readonly string[], complete: () => Promise<string[]>) => {
    const expected = wanted.toSorted();
    for (const giveUp = AbortSignal.timeout(patienceMs); ; ) {
      const found = (await complete()).sort();
      if (isDeepStrictEqual(found, expected)) return;
      if (giveUp.aborted) assert.deepEqual(found, expected, line);
    }
  };

  test("bash", async () => {
    for (const [line, wanted] of lines) {
      const words = line.split(" ").map((word) => `'${word}'`);
      const script = `. "${folder}/labgear.bash"; COMP_WORDS=(${words.join(" ")}); COMP_CWORD=${words.length - 1}; _labgear; printf '%s\\n' "\${COMPREPLY[@]}"`;
      await offers(line, wanted, async () =>
        (await execa("bash", ["-euc", script], { env })).stdout.split("\n"),
      );
    }
  });

  test("fish", async () => {
    // An unpacked one doesn't find its own functions.
    const functions = join(dirname(part("fish")), "../share/fish/functions");
    for (const [line, wanted] of lines) {
      const script = `set -p fish_function_path "${functions}"; source "${folder}/labgear.fish"; complete --do-complete '${line}'`;
      await offers(line, wanted, async () => {
        const { stdout } = await execa(part("fish"), ["--no-config", "-c", script], { env });
        return stdout.split("\n").map((one) => one.split("\t")[0] ?? "");
      });
    }
  });

  test("zsh, without its own functions, which the static one doesn't have", async () => {
    const kinds = ["jobs", "builds", "nodes", "classes", "devices", "boxes"];
    const script = `
_arguments() { print -rl -- "$@"; }
_describe() { print -rl -- "\${(@P)2}"; }
compadd() { print -rl -- "\${(@P)2}"; }
functions[file]="$(<"${folder}/_labgear")"
complete() { words=("$@"); CURRENT=$#; functions[_labgear_file]="$functions[file]"; _labgear_file; }
print -r -- "== commands"; complete labgear ""
print -r -- "== build"; complete labgear build ""
for kind in ${kinds.join(" ")}; do print -r -- "== $kind"; _labgear_values $kind; done
`;
    let parts: string[][] = [];
    const of = (name: string) => parts.find(([title]) => title === name)?.slice(1) ?? [];
    await offers("each kind", kinds, async () => {
      const { stdout } = await execa(part("zsh"), ["-f", "-c", script], { env });
      parts = stdout.split(/^== /m).map((text) => text.trim().split("\n"));
      return kinds.filter((kind) => of(kind).length > 0);
    });
    assert.ok(of("commands").includes("doctor:find out what keeps the agent from working"));
    assert.ok(of("build").includes("1:job:_labgear_values jobs"));
    assert.ok(of("build").some((spec) => /^--node=\[.*\]:value:_labgear_values classes$/.test(spec)));
    assert.deepEqual(of("builds"), ["hello#1"]);
    assert.deepEqual(of("nodes").sort(), ["mcu-1", "rack7"]);
    assert.deepEqual(of("devices"), ["mcu-1"]);
    assert.deepEqual([of("jobs"), of("boxes")], [["hello"], ["rack7"]]);
    assert.ok(of("classes").includes("fast-disk"));
  });
});
