/** A full disk, at each step of a build; a disk that can't be written; room that is kept and made. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, watch, writeFileSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { functions, object, submit, type Watched } from "../support/clients.ts";
import { fillDisk, freeDisk, lacksMount, smallDisk } from "../support/folders.ts";
import { makeGate, openGate, waitAtGate } from "../support/gate.ts";
import { lacks } from "../support/parts.ts";
import { bounded, type RunningServer, startGearmand, temporaryFolder } from "../support/servers.ts";

const skip = lacks("gearmand", "gearadmin") || lacksMount();

let server: RunningServer;
before(async () => {
  if (!skip) server = await startGearmand();
});
after(() => server?.[Symbol.asyncDispose]());

/** `workspace` and `ending` end with larger records than they begin with: the kernel leaves a few blocks of a full disk.
 * `modest` runs until the test opens the gate. */
const yaml = (builds: string) => `
name: box7
host: { classes: [lab1] }
builds: ${builds}
jobs:
  quick: { run: "echo quick" }
  workspace: { run: "cd $LABGEAR_ARTIFACTS; seq 900 | xargs touch; cd - >/dev/null; head -c 64M /dev/zero >big 2>&-" }
  console: { run: "head -c 64M /dev/zero" }
  artifacts: { run: "head -c 5M /dev/zero >big", artifacts: [big] }
  ending: { run: "cd $LABGEAR_ARTIFACTS; seq 900 | xargs touch; cd - >/dev/null; head -c 64M /dev/zero >big 2>&- || true" }
  inodes: { run: "mkdir files; cd files; seq 2000 | xargs touch" }
  many: { run: "mkdir -p out; cd out; seq 5000 | xargs touch", artifacts: [out/*] }
  greedy: { run: "rm -f big; echo begun; head -c 12M /dev/zero >big; sleep 300", grace: 0s }
  modest: { run: "rm -f small; head -c 1M /dev/zero >small; echo begun; ${waitAtGate}", grace: 0s }
`;

const day = 24 * 60 * 60 * 1000;
const kib = 1024;
const mib = 1024 * kib;

/** Makes a large record: one long value would be cut there. */
const large = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`LARGE_${i}`, "x".repeat(kib)]));

/** An agent whose state directory is a disk of its own. */
async function startOnDisk(kibibytes: number, builds: string, executors = 1) {
  const stack = new AsyncDisposableStack();
  try {
    const disk = stack.use(smallDisk(kibibytes));
    mkdirSync(join(disk.path, "state"));
    const home = stack.use(await temporaryFolder());
    // The state directory is the disk, and all else lies beside it.
    execFileSync("ln", ["-s", join(disk.path, "state"), join(home.path, "state")]);
    const text = yaml(builds).replace("classes: [lab1]", `classes: [lab1], executors: ${executors}`);
    const agent = stack.use(await TestAgent.start({ yaml: text, ports: [server.port], folder: home.path }));
    await makeGate(agent.stateDir);
    return { agent, disk: disk.path, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

const run = (job: string, parameters: object = {}) =>
  submit(server.port, { function: `build:${job}`, data: JSON.stringify(parameters) });

/** The last that is written of a build: that its client has the ending. */
async function noted(agent: TestAgent, job: string, number: number): Promise<void> {
  let changed = Promise.withResolvers<void>();
  const watcher = watch(join(agent.stateDir, "builds", job, `${number}`), () => changed.resolve());
  try {
    while ((await agent.record(job, number)).undelivered) {
      await bounded(changed.promise);
      changed = Promise.withResolvers<void>();
    }
  } finally {
    watcher.close();
  }
}

/** How a build ended for its client: its result, or "none" for a WORK_FAIL without one. */
async function outcome(build: Watched): Promise<string> {
  const events = await build.ended;
  const last = events.at(-1);
  const data = events.filter(({ type }) => type === "data").at(-1);
  const result = data ? object(data).result : undefined;
  if (result === "SUCCESS") assert.equal(last?.type, "complete");
  else assert.equal(last?.type, "fail");
  return `${result ?? "none"}`;
}

/** Warnings and errors of the log about builds and the box. */
const complaints = (agent: TestAgent) =>
  agent.log
    .filter((line) => line.level >= 40 && !("manager" in line) && !line.msg.startsWith("no control groups"))
    .map(({ msg }) => msg);

/** The build ended while its record couldn't be written: one line says both. */
async function endedWhileFull(agent: TestAgent, start: string): Promise<void> {
  const { msg } = await agent.logged(start);
  assert.match(msg, /; its record stays in memory until it can be written: ENOSPC/);
  assert.equal(complaints(agent).length, 1, complaints(agent).join("; "));
}

const ending = (kind: string, reason: string, exitCode: number) => ({ kind, reason, exitCode });

function readOnlyDisk(path: string): void {
  mkdirSync(path);
  execFileSync("mount", ["-t", "tmpfs", "-o", "ro", "labgear-test", path]);
}

/** Where something is mounted. */
function unmount(path: string): void {
  execFileSync("sh", ["-c", `mountpoint -q "$1" && umount -l "$1" || true`, "sh", path]);
}

/** After the disk was full: registered as ever, the next build passes with the next number, and no half of anything is left. */
async function assertWell(agent: TestAgent, number: number): Promise<void> {
  const build = await run("quick");
  assert.equal(await outcome(build), "SUCCESS");
  assert.equal(object(build.events.at(-1)).number, number);
  const [node] = (await agent.status()).nodes;
  assert.deepEqual(node?.reasons, []);
  const registered = (await functions(server.port)).get("build:quick:lab1")?.workers;
  assert.equal(registered, node?.executors.length);
  assert.equal(await agent.end(), 0);
  const names = await readdir(join(agent.stateDir, "builds"), { recursive: true });
  assert.deepEqual(
    names.filter((name) => /\.new-|\.old-|damaged/.test(name)),
    [],
  );
  for (const name of names.filter((path) => path.endsWith("/build.json"))) {
    const record = JSON.parse(await readFile(join(agent.stateDir, "builds", name), "utf8"));
    assert.ok(record.ended, `${name} has an end`);
  }
}

describe("the disk gets full", { skip }, () => {
  test("before the assignment: one line, WORK_FAIL without data, and no more builds until there is room", async () => {
    await using box = await startOnDisk(16 * kib, "{ min-free: 0 }");
    const { agent, disk } = box;
    assert.equal(await outcome(await run("quick")), "SUCCESS");
    await noted(agent, "quick", 1);
    fillDisk(disk);
    const failed = await run("quick");
    assert.equal(await outcome(failed), "none");
    assert.deepEqual(
      failed.events.map(({ type }) => type),
      ["fail"],
    );
    assert.equal(complaints(agent).length, 1);
    assert.match(
      complaints(agent)[0] ?? "",
      /^no build: .*state\.json can't be written \(ENOSPC\): make room on its disk/,
    );
    const waiting = await run("quick");
    assert.match(String((await agent.status()).nodes[0]?.reasons), /^box: .*ENOSPC/);
    assert.equal(waiting.events.length, 0);
    freeDisk(disk);
    assert.equal(await outcome(waiting), "SUCCESS");
    assert.equal(
      object(waiting.events.at(-1)).number,
      2,
      "the number that couldn't be kept was given to nobody",
    );
    await agent.logged("the box is well again");
    await assertWell(agent, 3);
    assert.equal(complaints(agent).length, 1);
  });

  test("at the record: one line, no result, no half of a folder, and the number isn't given again", async () => {
    await using box = await startOnDisk(16 * kib, "{ min-free: 0 }");
    const { agent, disk } = box;
    fillDisk(disk, 32 * kib);
    const failed = await run("quick", large);
    assert.equal(await outcome(failed), "none");
    assert.equal(object(failed.events[0]).number, 1);
    assert.equal(complaints(agent).length, 1);
    assert.match(complaints(agent)[0] ?? "", /^quick#1 ended: the disk is full: ENOSPC/);
    assert.deepEqual(readdirSync(join(agent.stateDir, "builds", "quick")), []);
    freeDisk(disk);
    await agent.logged("the box is well again");
    await assertWell(agent, 2);
  });

  test("in the workspace: the build's own result", async () => {
    await using box = await startOnDisk(16 * kib, "{ min-free: 0 }");
    const { agent } = box;
    assert.equal(await outcome(await run("workspace")), "FAILURE");
    await endedWhileFull(agent, "workspace#1 ended: the job ended with exit code 1");
    rmSync(join(agent.stateDir, "workspaces/0/workspace/big"));
    await agent.logged("are written now");
    const record = await agent.record("workspace", 1);
    assert.deepEqual(
      [record.result, record.ending],
      ["FAILURE", ending("failed", "the job ended with exit code 1", 1)],
    );
    await assertWell(agent, 1);
  });

  test("while the console is written: no result, and what found room is there", async () => {
    await using box = await startOnDisk(16 * kib, "{ min-free: 0, keep: 1 }");
    const { agent } = box;
    fillDisk(box.disk, 2 * mib);
    assert.equal(await outcome(await run("console", large)), "none");
    await endedWhileFull(agent, "console#1 ended: the disk is full: ENOSPC");
    freeDisk(box.disk);
    await agent.logged("are written now");
    const { console, result } = await agent.record("console", 1);
    const { length } = await agent.file("console", 1, "console.log");
    assert.ok(length > mib, `${length} bytes of console`);
    assert.deepEqual([console, result], [{ bytes: length, cut: 0 }, undefined]);
    await assertWell(agent, 1);
  });

  test("while artifacts are collected: no result, and the line says so", async () => {
    await using box = await startOnDisk(16 * kib, "{ min-free: 0 }");
    const { agent, disk } = box;
    fillDisk(disk, 7 * mib);
    assert.equal(await outcome(await run("artifacts")), "none");
    assert.equal(complaints(agent).length, 1);
    assert.match(
      complaints(agent)[0] ?? "",
      /^artifacts#1 ended: the disk is full: the artifacts can't be stored/,
    );
    assert.deepEqual(
      readdirSync(join(agent.stateDir, "builds/artifacts/1/artifacts")),
      [],
      "no half of one is kept",
    );
    freeDisk(disk);
    await agent.logged("the box is well again");
    assert.equal(await outcome(await run("artifacts")), "SUCCESS");
    await assertWell(agent, 1);
  });

  test("at the ending: the build's own result, and the record follows when there is room", async () => {
    await using box = await startOnDisk(16 * kib, "{ min-free: 0 }");
    const { agent } = box;
    assert.equal(await outcome(await run("ending")), "SUCCESS");
    await endedWhileFull(agent, "ending#1 ended: the job passed");
    assert.equal((await agent.record("ending", 1)).ended, undefined, "the record isn't cut short");
    const { stdout } = await agent.command("builds", "--json");
    assert.equal(JSON.parse(stdout)[0].result, "SUCCESS");
    rmSync(join(agent.stateDir, "workspaces/0/ending/big"));
    await agent.logged("are written now");
    assert.equal((await agent.record("ending", 1)).result, "SUCCESS");
    await assertWell(agent, 1);
  });
});

describe("min-free", { skip }, () => {
  test("below it nothing is grabbed, the status says why, and what is queued runs when there is room again", async () => {
    await using box = await startOnDisk(16 * kib, "{ min-free: 4MiB }");
    const { agent, disk } = box;
    fillDisk(disk, 3 * mib);
    await agent.logged("no build is taken");
    const queued = await run("quick");
    const { stdout } = await agent.command("status");
    assert.match(stdout, /disk: 3MiB free at .*\/state, and min-free is 4MiB/);
    // The manager's answer comes after the server has offered the build to the executor.
    await (await submit(server.port, { function: "stop:box7", data: "nothing" })).ended;
    assert.equal(queued.events.length, 0);
    assert.equal((await functions(server.port)).get("build:quick:lab1")?.workers, 1);
    freeDisk(disk);
    assert.equal(await outcome(queued), "SUCCESS");
    assert.deepEqual(
      complaints(agent).map((line) => line.replace(/ at .*?,/, ",")),
      ["no build is taken: 3MiB free, and min-free is 4MiB"],
    );
    await agent.logged("there is room again");
    await assertWell(agent, 2);
  });

  test("an agent that starts below it takes nothing from the first moment on", async () => {
    await using box = await startOnDisk(16 * kib, "{ min-free: 4MiB }");
    assert.equal(await box.agent.end(), 0);
    fillDisk(box.disk, mib);
    const queued = await run("quick");
    await using again = await TestAgent.start({
      yaml: yaml("{ min-free: 4MiB }"),
      ports: [server.port],
      folder: box.agent.folder,
    });
    await again.logged("no build is taken");
    assert.equal(queued.events.length, 0);
    freeDisk(box.disk);
    assert.equal(await outcome(queued), "SUCCESS");
  });

  test("old builds make room first, each job's newest stays, then workspaces go that nobody works in", async () => {
    await using box = await startOnDisk(32 * kib, "{ min-free: 8MiB }");
    const { agent, disk } = box;
    for (let number = 1; number <= 3; number++)
      assert.equal(await outcome(await run("artifacts")), "SUCCESS");
    // Three times 5 MiB of artifacts, 5 MiB of workspace.
    fillDisk(disk, 4 * mib);
    await agent.logged("artifacts#1 is removed to make room");
    assert.deepEqual(readdirSync(join(agent.stateDir, "builds/artifacts")).sort(), ["2", "3"]);
    assert.ok(existsSync(join(agent.stateDir, "workspaces/0/artifacts/big")));
    while ((await agent.status()).nodes[0]?.reasons.length);
    fillDisk(disk, 64 * kib);
    await agent.logged("artifacts#2 is removed to make room");
    await agent.logged("the workspace of artifacts is removed to make room");
    assert.deepEqual(readdirSync(join(agent.stateDir, "builds/artifacts")), ["3"]);
    await assertWell(agent, 1);
    assert.deepEqual(complaints(agent), []);
  });

  test("without inodes nothing is taken, and what uses them up is removed, workspaces first", async () => {
    await using box = await startOnDisk(64 * kib, "{ min-free: 1MiB }");
    const { agent, disk } = box;
    execFileSync("mount", ["-o", "remount,nr_inodes=4000", disk]);
    for (let number = 1; number <= 2; number++) assert.equal(await outcome(await run("quick")), "SUCCESS");
    assert.equal(await outcome(await run("inodes")), "SUCCESS");
    mkdirSync(join(disk, "other"));
    execFileSync("sh", ["-c", "seq 1820 | xargs touch"], { cwd: join(disk, "other") });
    await agent.logged("the workspace of inodes is removed to make room");
    assert.deepEqual(readdirSync(join(agent.stateDir, "builds/quick")).sort(), ["1", "2"]);
    execFileSync("sh", ["-c", "seq 1821 3820 | xargs touch"], { cwd: join(disk, "other") });
    await agent.logged(({ msg }) =>
      /^no build is taken: \d+ inodes free at .*, and at least 200 are needed$/.test(msg),
    );
    const waiting = await run("quick");
    assert.match(String((await agent.status()).nodes[0]?.reasons), /^disk: \d+ inodes free/);
    rmSync(join(disk, "other"), { recursive: true });
    assert.equal(await outcome(waiting), "SUCCESS");
    await assertWell(agent, 4);
  });

  test("a build that fills the disk is stopped before it is full, without a verdict; others beside it go on", async () => {
    await using box = await startOnDisk(16 * kib, "{ min-free: 8MiB }", 2);
    const { agent } = box;
    const modest = await run("modest", { LABGEAR_STREAM: "1" });
    await modest.said("begun");
    const greedy = await run("greedy");
    assert.equal(await outcome(greedy), "none");
    const line = await agent.logged("greedy#1 is stopped");
    assert.match(
      line.msg,
      /the disk is nearly full, and of the running builds it takes most: 1[12](\.\d)?MiB$/,
    );
    await agent.logged("the workspace of greedy is removed to make room");
    const next = await run("quick");
    assert.equal(await outcome(next), "SUCCESS");
    await using _ = await openGate(agent.stateDir);
    assert.equal(await outcome(modest), "SUCCESS");
    const { ending, result } = await agent.record("greedy", 1);
    assert.equal(result, undefined);
    assert.match((ending as { reason: string }).reason, /nearly full/);
    await assertWell(agent, 2);
  });

  test("a disk that something else fills stops no build", async () => {
    await using box = await startOnDisk(16 * kib, "{ min-free: 8MiB }");
    const { agent, disk } = box;
    const modest = await run("modest", { LABGEAR_STREAM: "1" });
    await modest.said("begun");
    fillDisk(disk, mib);
    await agent.logged("no build is taken");
    await using _ = await openGate(agent.stateDir);
    assert.equal(await outcome(modest), "SUCCESS");
    freeDisk(disk);
    await agent.logged("there is room again");
    await assertWell(agent, 1);
  });
});

describe("a state directory that can't be written", { skip }, () => {
  for (const [what, spoil, expected] of [
    [
      "a file in its place",
      (path: string) => writeFileSync(path, ""),
      /state directory .*state can't be created: .*EEXIST/,
    ],
    ["a disk that is read-only", (path: string) => readOnlyDisk(path), /read-only|EROFS/],
  ] as const) {
    test(`at the start, ${what}: one line, exit code 1`, async () => {
      await using folder = await temporaryFolder();
      using _ = { [Symbol.dispose]: () => unmount(join(folder.path, "state")) };
      spoil(join(folder.path, "state"));
      await using agent = await TestAgent.launch({
        yaml: yaml("{}"),
        ports: [server.port],
        folder: folder.path,
      });
      assert.equal(await agent.ended(), 1);
      assert.equal(agent.log.length, 1, JSON.stringify(agent.log));
      assert.match(agent.log[0]?.msg ?? "", expected);
    });
  }

  test("that turns read-only takes no builds, and is well again when it is writable", async () => {
    await using box = await startOnDisk(16 * kib, "{ min-free: 0, keep: 1 }");
    const { agent, disk } = box;
    assert.equal(await outcome(await run("quick")), "SUCCESS");
    // Until the agent has noted that the ending was delivered it writes.
    while ("undelivered" in (await agent.record("quick", 1)));
    while (spawnSync("mount", ["-o", "remount,ro", disk]).status !== 0);
    await agent.logged("no build is taken");
    const waiting = await run("quick");
    assert.match(
      String((await agent.status()).nodes[0]?.reasons),
      /^box: the file system is read-only: EROFS/,
    );
    assert.equal(waiting.events.length, 0);
    assert.equal(complaints(agent).length, 1);
    assert.match(complaints(agent)[0] ?? "", /^no build is taken: the file system is read-only: EROFS/);
    execFileSync("mount", ["-o", "remount,rw", disk]);
    assert.equal(await outcome(waiting), "SUCCESS");
    await agent.logged("the box is well again");
    await assertWell(agent, 3);
  });
});

describe("what is kept", { skip }, () => {
  test("the newest by number, and none that is too old; numbers go on", async () => {
    await using folder = await temporaryFolder();
    const options = {
      yaml: yaml("{ min-free: 0, keep: 3, keep-days: 10 }"),
      ports: [server.port],
      folder: folder.path,
    };
    const folders = async (agent: TestAgent) => (await readdir(join(agent.stateDir, "builds/quick"))).sort();
    {
      await using agent = await TestAgent.start(options);
      for (let number = 1; number <= 5; number++) assert.equal(await outcome(await run("quick")), "SUCCESS");
      // The answer comes after the round of the last ending.
      while ((await folders(agent)).length > 3);
      assert.deepEqual(await folders(agent), ["3", "4", "5"]);
      assert.equal(await agent.end(), 0);
      const old = {
        ...(await agent.record("quick", 4)),
        ended: new Date(Date.now() - 11 * day).toISOString(),
      };
      await writeFile(join(agent.stateDir, "builds/quick/4/build.json"), JSON.stringify(old));
    }
    await using agent = await TestAgent.start(options);
    assert.deepEqual(await folders(agent), ["3", "5"]);
    const build = await run("quick");
    assert.equal(await outcome(build), "SUCCESS");
    assert.equal(object(build.events.at(-1)).number, 6);
  });

  test("of thousands of artifacts as many as the limits allow, with a note", async () => {
    await using folder = await temporaryFolder();
    await using agent = await TestAgent.start({
      yaml: yaml("{ min-free: 0 }"),
      ports: [server.port],
      folder: folder.path,
    });
    assert.equal(await outcome(await run("many")), "SUCCESS");
    const record = await agent.record("many", 1);
    assert.equal((record.artifacts as unknown[]).length, 1000);
    assert.equal(readdirSync(join(agent.stateDir, "builds/many/1/artifacts/out")).length, 1000);
    assert.match(String(record.warnings), /more than the 1000 files that are kept; the rest is left out/);
    assert.match((await agent.file("many", 1, "console.log")).toString(), /the rest is left out/);
    await assertWell(agent, 1);
  });
});
