/** `labgear doctor` and `labgear check`: good and bad boxes. */
import assert from "node:assert/strict";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { Finding } from "#/cli/doctor/finding.ts";
import { labgear, TestAgent } from "../support/agent.ts";
import { lacks } from "../support/parts.ts";
import { freePort, startGearmand, temporaryFolder } from "../support/servers.ts";

const good = "name: box4\nbuilds: { min-free: 1MiB }\njobs: { pass: { run: 'true' } }\n";

/** A box without an agent, whose configuration is this. */
async function examine(folder: string, yaml: string, ...args: string[]) {
  const config = join(folder, "labgear.yaml");
  await writeFile(config, yaml);
  const paths = [
    "--config",
    config,
    "--control",
    join(folder, "c.sock"),
    "--state-dir",
    join(folder, "state"),
  ];
  const { exitCode, stdout, stderr } = await labgear(["doctor", ...paths, "--json", ...args]);
  assert.equal(stderr, "");
  const findings = JSON.parse(stdout) as Finding[];
  for (const { state, text, advice } of findings) {
    assert.ok(!text.includes("\n"));
    if (state !== "good") assert.ok(advice, text);
  }
  const about = (wanted: Finding["about"]) => findings.filter((finding) => finding.about === wanted);
  return { exitCode, about };
}

describe("doctor", () => {
  test("a box in order", { skip: lacks("gearmand") }, async () => {
    await using server = await startGearmand();
    await using agent = await TestAgent.start({ yaml: good, ports: [server.port] });
    const args = ["doctor", "--config", agent.config, "--state-dir", agent.stateDir];
    const { exitCode, stdout } = await agent.command(...args);
    assert.equal(exitCode, 0, stdout);
    assert.match(stdout, /^ok +configuration +\S+: 1 job$/m);
    assert.match(stdout, /^ok +agent +box4 is running, pid \d+$/m);
    assert.match(stdout, /^ok +job server +\S+ answers and has this box registered$/m);
    assert.match(stdout, /^ok +job server +\S+ is gearmand, version "\d/m);
    assert.match(stdout, /^(ok|note) +cgroup +\S/m);
    assert.match(stdout, /^ok +disk +\S+ free at /m);
    await agent.command("pause");
    const paused = await agent.command(...args);
    assert.equal(paused.exitCode, 0);
    assert.match(paused.stdout, /^note +agent +box4 is running.*paused by hand\n +→ it takes no builds/m);
  });

  test("mistakes in the configuration are a finding each", async () => {
    await using folder = await temporaryFolder();
    const { exitCode, about } = await examine(folder.path, "nmae: x\nhost: { executors: 0 }\n");
    assert.equal(exitCode, 1);
    const lines = about("configuration").map(({ state, text }) => `${state} ${text.split(": ")[0]}`);
    const file = join(folder.path, "labgear.yaml");
    assert.deepEqual(lines, [`bad ${file}:1`, `bad ${file}:2`]);
    assert.deepEqual(about("job server"), [], "nobody knows which");
  });

  test("no jobs, no agent, a job server that is gone", async () => {
    await using folder = await temporaryFolder();
    const port = await freePort();
    const { exitCode, about } = await examine(folder.path, `servers: ["127.0.0.1:${port}"]\n`);
    assert.equal(exitCode, 1);
    assert.equal(about("configuration")[0]?.state, "warning");
    const [agent] = about("agent");
    assert.equal(agent?.state, "bad");
    assert.match(agent?.text ?? "", /^no agent listens on/);
    assert.match(agent?.advice ?? "", /^start it with/);
    const [server] = about("job server");
    assert.equal(server?.state, "bad");
    assert.match(server?.text ?? "", new RegExp(`127.0.0.1:${port}`));
  });

  test("a job server that doesn't know the box", { skip: lacks("gearmand") }, async () => {
    await using server = await startGearmand();
    await using folder = await temporaryFolder();
    const { about } = await examine(folder.path, `${good}servers: ["127.0.0.1:${server.port}"]\n`);
    const [finding] = about("job server");
    assert.equal(finding?.state, "warning");
    assert.match(finding?.text ?? "", /answers, but doesn't know box4$/);
  });

  test("TLS files that can't be read", async () => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, "ca.pem"));
    const { exitCode, about } = await examine(
      folder.path,
      `${good}servers: [h.invalid]\ntls: { ca: ca.pem }\n`,
    );
    assert.equal(exitCode, 1);
    assert.ok([...about("job server"), ...about("configuration")].some(({ state }) => state === "bad"));
  });

  test("a full disk, a state directory that is a file, one that isn't there yet", async () => {
    await using folder = await temporaryFolder();
    const full = await examine(folder.path, good.replace("1MiB", "1000TiB"));
    assert.match(full.about("disk")[0]?.advice ?? "", /^the box takes no builds: free some space/);
    const file = join(folder.path, "file");
    await writeFile(file, "");
    const odd = await examine(folder.path, good, "--state-dir", join(file));
    assert.match(odd.about("disk")[0]?.text ?? "", /file is not a folder$/);
    const missing = await examine(folder.path, good, "--state-dir", join(folder.path, "a/b/c"));
    assert.equal(missing.about("disk")[0]?.state, "good");
  });

  test("a state directory that this user may not write", {
    skip: process.getuid?.() === 0 && "root may",
  }, async () => {
    await using folder = await temporaryFolder();
    const locked = join(folder.path, "locked");
    await mkdir(locked);
    await chmod(locked, 0o500);
    const { about } = await examine(folder.path, good, "--state-dir", locked);
    assert.match(about("disk")[0]?.text ?? "", /can't be used: EACCES/);
  });
});

test("check warns of a job that mixes trust", async () => {
  await using folder = await temporaryFolder();
  const config = join(folder.path, "labgear.yaml");
  const jobs = [
    "a: { checkout: true, run: x }",
    "b: { checkout: true, run: x, trust: lab }",
    'c: { run: "./build.sh", trust: lab }',
    'd: { run: "./build.sh" }',
    "e: { run: x, trust: lab }",
  ];
  await writeFile(config, `jobs:\n  ${jobs.join("\n  ")}\n`);
  const { exitCode, stdout, stderr } = await labgear(["check", "--config", config]);
  assert.deepEqual([exitCode, stdout], [0, `${config}: 5 jobs, no mistakes\n`]);
  assert.deepEqual(
    stderr
      .trim()
      .split("\n")
      .map((line) => line.slice(0, line.indexOf(":", 40))),
    [
      "labgear: warning: jobs.b says trust: lab, but it checks out what a change brings",
      "labgear: warning: jobs.c says trust: lab, but it runs a script of its workspace",
    ],
  );
});

test("gearmand that drops the builds of lost boxes is a finding", { skip: lacks("gearmand") }, async () => {
  await using folder = await temporaryFolder();
  await using server = await startGearmand({ args: ["--job-retries=1"] });
  const { about } = await examine(folder.path, `servers: ["127.0.0.1:${server.port}"]\n`);
  const found = about("job server").find(({ text }) => text.includes("--job-retries=1"));
  assert.match(found?.text ?? "", /drops a build whose box was lost/);
});

test("check warns of a job in which a change has a board", async () => {
  await using folder = await temporaryFolder();
  const config = join(folder.path, "labgear.yaml");
  const job = (more: string) => `jobs: { flash: { run: x, nodes: [esp32]${more} } }`;
  const device = "devices: { e: { classes: [esp32], port: /dev/e, console: raw } }";
  await writeFile(config, `${job(", checkout: true")}\n${device}\n`);
  const warned = await labgear(["check", "--config", config]);
  assert.equal(warned.exitCode, 0);
  assert.match(
    warned.stderr,
    /^labgear: warning: jobs\.flash checks out changes and has the board "esp32": .*inputs: are safer$/m,
  );
  await writeFile(config, `${job("")}\n${device}\n`);
  assert.equal((await labgear(["check", "--config", config])).stderr, "");
});

test("check: a good file, and ten mistakes on ten lines", async () => {
  await using folder = await temporaryFolder();
  const config = join(folder.path, "labgear.yaml");
  await writeFile(config, good);
  const fine = await labgear(["check", "--config", config]);
  assert.deepEqual([fine.exitCode, fine.stdout], [0, `${config}: 1 job, no mistakes\n`]);
  const mistakes = [
    "nmae: x",
    "name: [1]",
    "servers: ['a b']",
    "http: { listen: nowhere }",
    "host: { executors: many }",
    "builds: { keep: -1 }",
    "stop-timeout: soon",
    "jobs:",
    "  'a:b': { run: x }",
    "  b: { rnu: x, run: y }",
    "  c: { run: x, timeout: 5 parsecs }",
    "  d: { run: x, limits: { cpu: fast } }",
  ];
  await writeFile(config, `${mistakes.join("\n")}\n`);
  const { exitCode, stdout, stderr } = await labgear(["check", "--config", config]);
  assert.deepEqual([exitCode, stdout], [2, ""]);
  const lines = stderr.trim().split("\n");
  const found = lines.map((line) => Number(line.slice(config.length + 1).split(":")[0]));
  assert.deepEqual(found, [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]);
  assert.ok(lines.every((line) => line.startsWith(`${config}:`)));
  const json = await labgear(["check", "--json", "--config", config]);
  assert.deepEqual([json.exitCode, json.stderr], [2, ""]);
  const { mistakes: all } = JSON.parse(json.stdout);
  assert.deepEqual(
    all.map(({ file, line }: { file: string; line: number }) => [file, line]),
    found.map((line) => [config, line]),
  );
  assert.equal(all[0].key, "nmae");
  await writeFile(config, good);
  assert.deepEqual(JSON.parse((await labgear(["check", "--json", "--config", config])).stdout), {
    ...{ files: [config], jobs: ["pass"], mistakes: [], warnings: [] },
  });
});
