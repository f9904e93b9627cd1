/** What one build leaves, in its workspace and among its artifacts, ends no later build. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { folder, Repository } from "../builds/checkout/git-parts.ts";
import { TestAgent } from "../support/agent.ts";
import { object, submit } from "../support/clients.ts";
import { lacksMount, smallDisk } from "../support/folders.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand, temporaryFolder } from "../support/servers.ts";

const skip = lacks("gearmand", "git");

const yaml = (builds = "") => `
name: box7
host: { classes: [lab1] }
builds: { min-free: 0, ${builds} }
jobs:
  change: { checkout: true, run: 'git status --porcelain --ignored; eval "$AFTER"', parameters: [AFTER] }
  deep: { run: 'eval "$AFTER"', parameters: [AFTER] }
  broken: { run: "#!/no/such/interpreter" }
  fat: { run: "head -c 3M /dev/zero >big" }
`;

const deep =
  'd=$(printf "%0200d" 0); for i in $(seq 40); do mkdir "$d" && cd -P "$d" || break; done; head -c 1M /dev/zero >end';

const resources = new AsyncDisposableStack();
let server: RunningServer;
let agent: TestAgent;
let launch: Record<string, string>;

before(async () => {
  if (skip) return;
  const { path } = resources.use(await folder());
  const repository = await Repository.make(path);
  const commit = await repository.commit({ version: "one\n" });
  server = resources.use(await startGearmand());
  agent = resources.use(await TestAgent.start({ yaml: yaml(), ports: [server.port] }));
  launch = {
    ...{ ZUUL_URL: `file://${path}`, ZUUL_PROJECT: "org/project" },
    ...{ ZUUL_REF: "refs/heads/master", ZUUL_COMMIT: commit },
  };
});

after(() => resources.disposeAsync());

/** @returns the result, "none" for an ending without one, and the console */
async function run(job: string, AFTER = "true", on = agent): Promise<[result: string, console: string]> {
  const data = JSON.stringify({ ...launch, AFTER });
  const events = await (await submit(server.port, { function: `build:${job}`, data })).ended;
  const last = object(events.findLast(({ type }) => type === "data"));
  const console = await on.file(job, Number(last.number), "console.log");
  return [String(last.result ?? "none"), console.toString()];
}

test("a tree deeper than a path can be is gone in the next checkout", { skip }, async () => {
  assert.equal((await run("change", deep))[0], "SUCCESS");
  const [result, console] = await run("change");
  assert.equal(result, "SUCCESS");
  assert.doesNotMatch(console, /\?\?|!!|ENAMETOOLONG/);
});

test("names that aren't UTF-8 are gone in the next checkout, also those that were tracked", {
  skip,
}, async () => {
  const odd = 'printf x >"$(printf "caf\\351.txt")"; git add .; mkdir "$(printf "\\377")"';
  assert.equal((await run("change", odd))[0], "SUCCESS");
  const [result, console] = await run("change");
  assert.equal(result, "SUCCESS");
  assert.doesNotMatch(console, /\?\?|!!/);
});

test("a workspace that can't be emptied is moved aside, and one line says so", {
  skip: skip || lacksMount(),
}, async () => {
  const workspace = join(agent.stateDir, "workspaces/0/change");
  const stuck = join(workspace, "x".repeat(200));
  await mkdir(stuck);
  execFileSync("mount", ["-t", "tmpfs", "labgear-test", stuck]);
  try {
    const [result, console] = await run("change");
    assert.equal(result, "SUCCESS", console);
    const lines = console.split("\n").filter((line) => line.includes("moved aside"));
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", /the workspace can't be emptied: .*; it is moved aside/);
    assert.ok((lines[0] ?? "").length < 500);
    assert.deepEqual((await agent.status()).nodes[0]?.reasons, []);
  } finally {
    const executor = join(agent.stateDir, "workspaces/0");
    for (const name of readdirSync(executor).filter((name) => name.startsWith(".old-")))
      execFileSync("umount", [join(executor, name, "x".repeat(200))]);
  }
});

test("a node whose builds end without a result, one after the other, takes none and says why", {
  skip,
}, async () => {
  for (let round = 0; round < 2; round++) assert.equal((await run("broken"))[0], "none");
  assert.equal((await run("fat"))[0], "SUCCESS");
  for (let round = 0; round < 3; round++) {
    assert.deepEqual((await agent.status()).nodes[0]?.reasons, []);
    assert.equal((await run("broken"))[0], "none");
  }
  const why =
    /failing: the last 3 builds ended without a result; the last one: the script's interpreter can't be run/;
  assert.match(String((await agent.status()).nodes[0]?.reasons), why);
  const { stdout } = await agent.command("doctor", "--config", agent.config, "--state-dir", agent.stateDir);
  assert.match(stdout, why);
  const waiting = run("fat");
  assert.equal((await agent.command("resume")).exitCode, 0);
  assert.equal((await waiting)[0], "SUCCESS");
});

test("room is made past what can't be removed, and the next start removes what was moved aside", {
  skip: skip || lacksMount(),
}, async () => {
  using disk = smallDisk(16 * 1024);
  await using home = await temporaryFolder();
  await mkdir(join(disk.path, "state"));
  execFileSync("ln", ["-s", join(disk.path, "state"), join(home.path, "state")]);
  const own = yaml("min-free: 4MiB")
    .replace("min-free: 0, ", "")
    .replace("box7", "box8")
    .replace("lab1", "lab2");
  const options = { yaml: own.replaceAll(/(deep|fat):/g, "$1-8:"), ports: [server.port], folder: home.path };
  {
    await using box = await TestAgent.start(options);
    assert.equal((await run("deep-8", deep, box))[0], "SUCCESS");
    const stuck = join(box.stateDir, "workspaces/0/deep-8/stuck");
    await mkdir(stuck);
    execFileSync("mount", ["-t", "tmpfs", "labgear-test", stuck]);
    assert.equal((await run("fat-8", "", box))[0], "SUCCESS");
    await writeFile(join(disk.path, "filler"), Buffer.alloc(10 * 1024 * 1024));
    await box.logged('"stuck" can\'t be removed');
    await box.logged("the workspace of fat-8 is removed to make room");
    assert.equal(existsSync(join(box.stateDir, "workspaces/0/fat-8")), false);
    const [aside = ""] = readdirSync(join(box.stateDir, "workspaces/0"));
    assert.deepEqual(readdirSync(join(box.stateDir, "workspaces/0", aside)), ["stuck"]);
    execFileSync("umount", [join(box.stateDir, "workspaces/0", aside, "stuck")]);
    assert.equal(await box.end(), 0);
  }
  await using box = await TestAgent.start(options);
  assert.equal(await box.end(), 0);
  assert.deepEqual(readdirSync(join(box.stateDir, "workspaces/0")), []);
});
