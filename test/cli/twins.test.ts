/** Two agents of one name, as cloned boxes are. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { Admin } from "#/gearman/client/admin.ts";
import { dial } from "#/gearman/wire/dial.ts";
import { labgear, TestAgent } from "../support/agent.ts";
import { functions, submit } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand, temporaryFolder } from "../support/servers.ts";

const yaml = (name: string, label: string) => `
name: ${name}
host: { classes: [${label}] }
builds: { min-free: 1MiB }
jobs:
  wait: { run: "exec sleep 300", grace: 1s }
  echo: { run: 'cat "$LABGEAR_INPUT_TEXT" >out', inputs: { text: { max: 1MiB } }, artifacts: [out] }
`;

test("twins are noticed, and a stop by uuid reaches the one that has the build", {
  skip: lacks("gearmand"),
}, async () => {
  await using gearmand = await startGearmand();
  const ports = [gearmand.port];
  await using one = await TestAgent.start({ yaml: yaml("twin", "t1"), ports });
  await using two = await TestAgent.start({ yaml: yaml("twin", "t2"), ports });
  const warned = await two.logged("another agent has the name twin, too");
  assert.equal(warned.level, 40);
  assert.match((await two.command("status")).stdout, /another agent seems to have the name of this one/);
  const server = ["--server", `127.0.0.1:${gearmand.port}`];
  assert.match((await labgear(["functions", ...server])).stderr, /more than one agent is named twin/);
  const doctor = await one.command("doctor", "--config", one.config, "--state-dir", one.stateDir);
  assert.match(doctor.stdout, /BAD +job server.*more than one agent is named twin/);
  for (const [label, agent] of [
    ["t1", one],
    ["t2", two],
  ] as const) {
    for (const round of [1, 2]) {
      const unique = `${label}-${round}`;
      const build = await submit(gearmand.port, { function: `build:wait:${label}`, unique, data: "{}" });
      await build.started;
      const number = await labgear(["stop", "twin", `wait#${round}`, ...server]);
      assert.equal(number.exitCode, 1);
      assert.match(number.stderr, /more than one agent is named twin, .*: stop it by its uuid\n$/);
      const raw = await submit(gearmand.port, {
        ...{ function: "stop:twin", data: JSON.stringify({ name: "wait", number: round }) },
      });
      assert.equal((await raw.ended).at(-1)?.type, "fail");
      const { exitCode, stderr } = await labgear(["stop", "twin", unique, ...server]);
      assert.deepEqual([exitCode, stderr], [0, ""]);
      await build.ended;
      assert.equal((await agent.record("wait", round)).result, "ABORTED");
    }
  }
});

test("files in and results out reach the twin that has the build; by number none is described", {
  skip: lacks("gearmand"),
}, async () => {
  await using gearmand = await startGearmand();
  await using folder = await temporaryFolder();
  const ports = [gearmand.port];
  await using _one = await TestAgent.start({ yaml: yaml("twin", "t1"), ports });
  await using two = await TestAgent.start({ yaml: yaml("twin", "t2"), ports });
  await two.logged("another agent has the name twin, too");
  const server = ["--server", `127.0.0.1:${gearmand.port}`];
  const file = join(folder.path, "text");
  for (const label of ["t1", "t2"]) {
    await writeFile(file, `for ${label}\n`);
    const to = join(folder.path, label);
    const args = ["build", "echo", "--node", label, "--file", `text=${file}`, "--fetch", to];
    const { exitCode, stderr } = await labgear([...args, ...server]);
    assert.equal(exitCode, 0, stderr);
    assert.equal(await readFile(join(to, "artifacts/out"), "utf8"), `for ${label}\n`);
  }
  const description = { name: "echo", number: 1, html_description: "x" };
  const described = { function: "set_description:twin", data: JSON.stringify(description) };
  assert.equal((await (await submit(gearmand.port, described)).ended).at(-1)?.type, "fail");
});

test("a lost connection of the agent's own is no twin: a stop by number works", {
  skip: lacks("gearmand"),
}, async () => {
  await using gearmand = await startGearmand();
  await using agent = await TestAgent.start({ yaml: yaml("alone", "t1"), ports: [gearmand.port] });
  await using admin = await Admin.connect(gearmand);
  const own = (await admin.workers()).find(({ functions }) => functions.includes("stop:alone"));
  await using lost = await dial(gearmand);
  lost.send("SET_CLIENT_ID", own?.clientId ?? "");
  lost.send("CAN_DO", "stop:alone");
  while ((await functions(gearmand.port)).get("stop:alone")?.workers !== 2);
  const build = await submit(gearmand.port, { function: "build:wait", data: "{}" });
  await build.started;
  const stop = { function: "stop:alone", data: JSON.stringify({ name: "wait", number: 1 }) };
  assert.equal((await (await submit(gearmand.port, stop)).ended).at(-1)?.type, "complete");
  await build.ended;
  assert.equal((await agent.record("wait", 1)).result, "ABORTED");
  assert.doesNotMatch((await agent.command("status")).stdout, /another agent/);
});

test("after a reload that changes it, the name in force is shown", { skip: lacks("gearmand") }, async () => {
  await using gearmand = await startGearmand();
  await using agent = await TestAgent.start({ yaml: yaml("before", "t1"), ports: [gearmand.port] });
  await writeFile(agent.config, `servers: ["127.0.0.1:${gearmand.port}"]\n${yaml("after", "t1")}`);
  assert.match((await agent.command("reload")).stdout, / read again: 1 node$/m);
  assert.match((await agent.command("status")).stdout, /^before: /);
  assert.equal((await agent.status()).name, "before");
});
