/** What is there after a build's kill: processes that the agent may not kill, as sudo starts them, and strangers in the workspace. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, copyFile, mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { execa } from "execa";
import { TestAgent } from "../support/agent.ts";
import { object, submit } from "../support/clients.ts";
import { makeGate, openGate, waitAtGate } from "../support/gate.ts";
import { lacksRoot } from "../support/nobody.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand, temporaryFolder } from "../support/servers.ts";

const nobody = 65534;
const main = new URL("../../src/main.ts", import.meta.url).href;

/** A folder for an agent that runs as nobody, whose builds become root by a setuid program. */
async function sudoFolder(path: string): Promise<{ program: string; sudo: string }> {
  await chmod(path, 0o755);
  await chown(path, nobody, nobody);
  const program = join(path, "agent.ts");
  const drop = `process.setgroups([]); process.setgid(${nobody}); process.setuid(${nobody});`;
  await writeFile(program, `${drop}\nawait import(${JSON.stringify(main)});\n`);
  const sudo = join(path, "sudo");
  await copyFile("/usr/bin/setpriv", sudo);
  await chmod(sudo, 0o4755);
  return { program, sudo };
}

test("a process that can't be killed is reported and holds its executor until it has ended", {
  skip: lacks("gearmand") || lacksRoot(),
}, async (context) => {
  await using gearmand = await startGearmand();
  await using folder = await temporaryFolder();
  const { program, sudo } = await sudoFolder(folder.path);
  const become = ["--reuid=65534", "--clear-groups", sudo, "--reuid=0", "id", "-u"];
  if ((await execa("setpriv", become, { reject: false })).stdout !== "0")
    return context.skip("NOT TESTED HERE: setuid programs don't work");
  const yaml = `
name: box7
host: { classes: [lab1] }
builds: { min-free: 1MiB }
jobs:
  leaves:
    run: |
      mkfifo ready
      ${sudo} --reuid=0 sh -c 'echo $$ > ready; exec sleep 3600' &
      read pid < ready
      echo "left $pid"
  passes: { run: "echo passed" }
`;
  const options = { yaml, ports: [gearmand.port], folder: folder.path, program };
  await using agent = await TestAgent.start(options);
  const build = (job: string) =>
    submit(gearmand.port, { function: `build:${job}`, unique: job, data: '{"LABGEAR_STREAM":"1"}' });
  const first = await build("leaves");
  const stuck = await agent.logged("this executor takes no builds until they have ended");
  assert.equal(object((await first.ended).at(-1)).result, "SUCCESS");
  const console = `${await agent.file("leaves", 1, "console.log")}`;
  const pid = Number(/^left (\d+)$/m.exec(console)?.[1]);
  try {
    assert.match(stuck.msg, new RegExp(`can't be killed: ${pid};`));
    assert.match(console, new RegExp(`^\\[labgear\\] process ${pid} \\(sleep 3600\\) can't be killed`, "m"));
    assert.deepEqual((await agent.status()).nodes[0]?.executors, [{ index: 0, blockedBy: [pid] }]);
    assert.match(
      (await agent.command("status")).stdout,
      new RegExp(`executor 0 +held until .*: ${pid}$`, "m"),
    );
    // Neither a pause and its end nor a reload let it take builds.
    await agent.command("pause");
    await agent.command("resume");
    const second = await build("passes");
    await agent.command("reload");
    assert.deepEqual(second.events, []);
    process.kill(pid, "SIGKILL");
    assert.equal(object((await second.ended).at(-1)).result, "SUCCESS");
    await agent.logged("the processes that couldn't be killed have ended");
  } finally {
    await execa("kill", ["-9", `${pid}`], { reject: false });
  }
});

test("strangers in a workspace are named, by where they stand and what they have open", {
  skip: lacks("gearmand"),
}, async () => {
  await using gearmand = await startGearmand();
  const yaml = `
name: box7
host: { classes: [lab1] }
builds: { min-free: 1MiB }
jobs:
  works: { run: "echo started; ${waitAtGate}" }
`;
  await using agent = await TestAgent.start({ yaml, ports: [gearmand.port] });
  await makeGate(agent.stateDir);
  const workspace = join(agent.stateDir, "workspaces", "0", "works");
  await mkdir(workspace, { recursive: true });
  const strangers: ChildProcess[] = [];
  const stranger = async (options: Parameters<typeof spawn>[2]) => {
    const child = spawn("sleep", ["3600"], { stdio: "ignore", ...options });
    strangers.push(child);
    await once(child, "spawn");
    return child.pid;
  };
  try {
    const before = await stranger({ cwd: workspace });
    const data = '{"LABGEAR_STREAM":"1"}';
    const build = await submit(gearmand.port, { function: "build:works", unique: "w", data });
    await build.said("started");
    const inside = await stranger({ cwd: workspace });
    await using file = await open(join(workspace, "log"), "w");
    const writes = await stranger({ cwd: "/", stdio: ["ignore", file.fd, "ignore"] });
    await using _ = await openGate(agent.stateDir);
    assert.equal(object((await build.ended).at(-1)).result, "SUCCESS");
    const warnings = (await agent.record("works", 1)).warnings as string[];
    const line = (pid: number | undefined, how: string) =>
      `process ${pid} (sleep 3600) works in the workspace, ${how}`;
    for (const pid of [inside, writes])
      assert.ok(
        warnings.includes(line(pid, "may belong to this build, and was left running")),
        `${warnings}`,
      );
    assert.ok(warnings.includes(line(before, "and was there before this build began")), `${warnings}`);
    assert.match(
      `${await agent.file("works", 1, "console.log")}`,
      /\[labgear\] process \d+ \(sleep 3600\) works/,
    );
    for (const { exitCode, signalCode } of strangers) assert.deepEqual([exitCode, signalCode], [null, null]);
  } finally {
    for (const child of strangers) child.kill("SIGKILL");
  }
});
