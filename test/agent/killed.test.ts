/** `kill -9` of the agent at any moment of a build's life: the next one finds all there is, and each client gets its one ending. */
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { watch } from "node:fs";
import { mkdir, readdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { folder as gitFolder, Repository } from "../builds/checkout/git-parts.ts";
import { TestAgent } from "../support/agent.ts";
import { audit, readRecords, runsOf, witness } from "../support/audit.ts";
import { object, submit, type Watched } from "../support/clients.ts";
import { makeGate, openGate, waitAtGate } from "../support/gate.ts";
import { buildProcesses } from "../support/leftovers.ts";
import { lacks } from "../support/parts.ts";
import { seeded } from "../support/random.ts";
import { startRecorder } from "../support/recorder.ts";
import { scale } from "../support/scale.ts";
import { bounded, startGearmand, startRawServer, temporaryFolder } from "../support/servers.ts";

const skip = lacks("gearmand", "gearadmin", "git");

/** A uuid's first run waits for the test; what comes of it takes a while to collect. */
const script = `${witness}
echo begun
[ "$(wc -l <"../../../witness/$LABGEAR_UUID.runs")" -gt 1 ] || ${waitAtGate}
mkdir -p out
for n in $(seq 200); do echo "$n" >out/$n.bin; done
echo over`;

const yaml = `
name: box7
host: { classes: [lab1], executors: 2 }
jobs:
  plain: &job
    artifacts: ["out/*.bin"]
    run: |
      ${script.replaceAll("\n", "\n      ")}
  change:
    <<: *job
    checkout: true
`;

/** Each phase of a build, what tells that it has begun, and how long it may take from there, in milliseconds. */
const phases = {
  assignment: { job: "plain", begun: async () => {}, lasts: 12 },
  workspace: { job: "plain", begun: (build: Watched) => build.started, lasts: 15 },
  checkout: { job: "change", begun: (build: Watched) => build.started, lasts: 400 },
  running: { job: "plain", begun: (build: Watched) => build.said("begun"), lasts: 30 },
  collecting: { job: "plain", begun: openedAndPassed, lasts: 150 },
  ending: { job: "plain", begun: recorded, lasts: 10 },
} as const;

async function openedAndPassed(build: Watched, stateDir: string, held: AsyncDisposableStack): Promise<void> {
  await build.said("begun");
  held.use(await openGate(stateDir));
}

/** Resolves when the record with the ending takes the place of the first one. */
async function recorded(build: Watched, stateDir: string, held: AsyncDisposableStack): Promise<void> {
  await build.said("begun");
  const { name, number } = object(build.events[0]);
  const watcher = watch(join(stateDir, "builds", `${name}`, `${number}`));
  const renamed = new Promise<void>((resolve) => {
    watcher.on("change", (_, file) => file === "build.json" && resolve());
  });
  held.use(await openGate(stateDir));
  await bounded(renamed).finally(() => watcher.close());
}

/** Chance is for the long run; here every run is the same. */
const seed = Number(process.env.LABGEAR_TEST_SEED) || scale(1, randomInt(2 ** 31));

test(`kill -9 at seeded moments (LABGEAR_TEST_SEED=${seed})`, { skip }, async (context) => {
  const random = seeded(seed);
  await using folder = await temporaryFolder();
  await using origin = await gitFolder();
  const repository = await Repository.make(origin.path);
  const commit = await repository.commit({ version: "one\n" });
  repository.git("update-ref", "refs/zuul/master/Z1", commit);
  await using server = await startGearmand();
  const TMPDIR = join(folder.path, "tmp");
  await mkdir(TMPDIR);
  const start = () => TestAgent.start({ yaml, ports: [server.port], folder: folder.path, env: { TMPDIR } });
  const submitTo = (job: string, unique: string) => {
    const data = JSON.stringify({
      ...{ LABGEAR_STREAM: "1", ZUUL_URL: `file://${origin.path}`, ZUUL_PROJECT: "org/project" },
      ...{ ZUUL_BRANCH: "master", ZUUL_REF: "refs/zuul/master/Z1", ZUUL_COMMIT: commit },
    });
    return submit(server.port, { function: `build:${job}:lab1`, unique, data });
  };

  const moments = scale(4, 50);
  const names = Object.keys(phases) as (keyof typeof phases)[];
  const first = random(names.length);
  const all: Watched[] = [];
  let agent = await start();
  try {
    const { stateDir } = agent;
    await makeGate(stateDir);
    for (let moment = 0; moment < moments; moment++) {
      const name = names[(first + moment) % names.length] ?? "running";
      const { job, begun, lasts } = phases[name];
      const after = random(lasts * 4) / 4;
      const told = `moment ${moment}: ${after} ms into ${name}`;
      await using held = new AsyncDisposableStack();

      const watched = await submitTo(job, `u-${moment}-a`);
      const builds = [watched, await submitTo("plain", `u-${moment}-b`)];
      all.push(...builds);
      await begun(watched, stateDir, held);
      // The moment itself, not a wait for something.
      await delay(after);
      await agent.end("SIGKILL");

      const before = readRecords(stateDir);
      const old = buildProcesses(stateDir).map(({ pid }) => pid);
      const unfinished = [...before].filter(([, { ended }]) => ended === undefined).map(([title]) => title);
      agent = await start();
      const survivors = buildProcesses(stateDir).filter(({ pid }) => old.includes(pid));
      assert.deepEqual(survivors, [], told);
      const now = readRecords(stateDir);
      for (const title of unfinished) assert.equal(now.get(title)?.ending?.kind, "lost", `${told}: ${title}`);
      context.diagnostic(`${told}: lost ${unfinished}`);

      held.use(await openGate(stateDir));
      for (const build of builds) {
        assert.equal(object((await bounded(build.ended)).at(-1)).result, "SUCCESS", told);
      }
      await audit(agent, { builds: all, gaps: 2 * (moment + 1) }).catch((error: Error) => {
        throw new Error(`${told}: ${error.message}`, { cause: error });
      });
    }
    assert.equal(await agent.end("SIGTERM"), 0);
    await audit(agent, { builds: all, gaps: 2 * moments });
    assert.deepEqual(await readdir(TMPDIR), []);
  } finally {
    await agent[Symbol.asyncDispose]();
  }
});

test("kill -9 while git waits for a server that says nothing: git goes with the rest of the build", {
  skip,
}, async () => {
  const asked = Promise.withResolvers<void>();
  await using silent = await startRawServer(() => asked.resolve());
  await using folder = await temporaryFolder();
  await using server = await startGearmand();
  const start = () => TestAgent.start({ yaml, ports: [server.port], folder: folder.path });
  await using killed = await start();
  const ZUUL_URL = `git://127.0.0.1:${silent.port}`;
  const data = JSON.stringify({ ZUUL_URL, ZUUL_PROJECT: "p", ZUUL_REF: "refs/x" });
  const build = await submit(server.port, { function: "build:change", unique: "u-silent", data });
  await bounded(asked.promise);
  await killed.end("SIGKILL");
  const before = buildProcesses(killed.stateDir).map(({ pid }) => pid);
  assert.notDeepEqual(before, [], "there is something to clear away");

  await using agent = await start();
  const left = buildProcesses(agent.stateDir).filter(({ pid }) => before.includes(pid));
  assert.deepEqual(left, []);
  assert.equal(
    build.events.some(({ type }) => type === "fail"),
    false,
  );
});

test("kill -9 when the ending is sent and not yet delivered: it is told, and the build isn't run again", {
  skip,
}, async () => {
  await using folder = await temporaryFolder();
  await using server = await startGearmand();
  await using line = await startRecorder(server);
  const start = () => TestAgent.start({ yaml, ports: [line.port], folder: folder.path });
  await using killed = await start();
  await makeGate(killed.stateDir);
  await using _ = await openGate(killed.stateDir);
  const build = await submit(server.port, { function: "build:plain", unique: "u-sent", data: "{}" });
  await build.started;
  line.silence();
  await line.until((lines) => lines.some((packet) => packet.startsWith("worker WORK_COMPLETE")));
  await killed.end("SIGKILL");
  line.cut();

  await using agent = await start();
  assert.equal(object((await bounded(build.ended)).at(-1)).result, "SUCCESS");
  assert.equal(object(build.events.at(-1)).number, 1);
  assert.deepEqual(runsOf(agent.stateDir, "u-sent"), [1]);
  await audit(agent, { builds: [build] });
  assert.equal(await agent.end("SIGTERM"), 0);
  assert.equal((await agent.record("plain", 1)).undelivered, undefined);
});

test("kill -9, and the next agent is given the state directory by another name", { skip }, async () => {
  await using folder = await temporaryFolder();
  await using elsewhere = await temporaryFolder();
  await using server = await startGearmand();
  await using killed = await TestAgent.start({ yaml, ports: [server.port], folder: folder.path });
  await makeGate(killed.stateDir);
  const data = JSON.stringify({ LABGEAR_STREAM: "1" });
  const build = await submit(server.port, { function: "build:plain", unique: "u-named", data });
  // The script waits from then on; a process before it may be one that the agent starts for a moment.
  await build.said("begun");
  await killed.end("SIGKILL");
  const old = buildProcesses(killed.stateDir).map(({ pid }) => pid);
  assert.notDeepEqual(old, [], "there is something to clear away");

  await symlink(killed.stateDir, join(elsewhere.path, "state"));
  await using agent = await TestAgent.start({ yaml, ports: [server.port], folder: elsewhere.path });
  const left = buildProcesses(killed.stateDir).filter(({ pid }) => old.includes(pid));
  assert.deepEqual(left, []);
  await using _ = await openGate(killed.stateDir);
  assert.equal(object((await bounded(build.ended)).at(-1)).result, "SUCCESS");
  await audit(agent, { builds: [build] });
});
