/** `labgear agent` when it can't start: a line that says why, and an exit code. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { labgear, TestAgent } from "../support/agent.ts";
import { freePort, temporaryFolder } from "../support/servers.ts";

const good = (port: number) =>
  `name: box3\nservers: ["127.0.0.1:${port}"]\nbuilds: { min-free: 1MiB }\njobs: { pass: { run: "true" } }\n`;

describe("an agent that can't start", () => {
  test("1 for folders and sockets that it can't have, 2 for its configuration", async () => {
    await using folder = await temporaryFolder();
    const at = (name: string) => join(folder.path, name);
    await writeFile(at("good.yaml"), good(await freePort()));
    await writeFile(at("broken.yaml"), "jobs: { a: { run: 1 } }\nnmae: x\n");
    await writeFile(at("file"), "");
    const start = async (config: string, stateDir: string, control: string) => {
      const paths = ["--config", at(config), "--state-dir", at(stateDir), "--control", at(control)];
      const { exitCode, stdout, stderr } = await labgear(["agent", "--log-level", "error", ...paths]);
      assert.equal(stdout, "");
      assert.doesNotMatch(stderr, /^ {4}at /m, "no stack");
      return { exitCode, lines: stderr.trim().split("\n") };
    };
    const broken = await start("broken.yaml", "state", "c.sock");
    assert.equal(broken.exitCode, 2);
    assert.deepEqual(
      broken.lines.map((line) => line.split(": ")[0]),
      [`${at("broken.yaml")}:1`, `${at("broken.yaml")}:2`],
    );
    for (const [stateDir, control, expected] of [
      ["file/state", "c.sock", /^labgear: the state directory .* can't be created: ENOTDIR.*--state-dir/],
      ["state", "file/c.sock", /^labgear: the control socket .* can't be created: .*--control$/],
      ["state", "file", /^labgear: the control socket .* another file is in its place.*--control$/],
    ] as const) {
      const { exitCode, lines } = await start("good.yaml", stateDir, control);
      assert.equal(exitCode, 1, lines.join("\n"));
      assert.equal(lines.length, 1, lines.join("\n"));
      assert.match(lines[0] ?? "", expected);
    }
  });

  test("1 when another agent has the state directory, or the control socket; that one goes on", async () => {
    await using folder = await temporaryFolder();
    await using agent = await TestAgent.launch({ yaml: good(await freePort()) });
    await agent.logged("is up");
    const other = join(folder.path, "other");
    for (const [stateDir, control, expected] of [
      [agent.stateDir, other, /another labgear agent uses/],
      [other, agent.control, /another agent listens there/],
    ] as const) {
      const paths = ["--config", agent.config, "--state-dir", stateDir, "--control", control];
      const { exitCode, stderr } = await labgear(["agent", "--log-level", "error", ...paths]);
      assert.equal(exitCode, 1);
      assert.match(stderr, expected);
      assert.equal((await agent.status()).pid, agent.child.pid);
    }
  });
});
