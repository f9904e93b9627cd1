/** The agent ends, restarts or reloads while builds run and more come: nothing is lost. */
import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { audit, witness } from "../support/audit.ts";
import { functions, object, submit, type Watched } from "../support/clients.ts";
import { makeGate, openGate, waitAtGate } from "../support/gate.ts";
import { descriptors } from "../support/leftovers.ts";
import { lacks } from "../support/parts.ts";
import { bounded, type RunningServer, startGearmand, temporaryFolder } from "../support/servers.ts";

const skip = lacks("gearmand", "gearadmin");

const script = witness.replaceAll("\n", "\n      ");
const yaml = (executors = 2) => `
name: box7
host: { classes: [lab1], executors: ${executors} }
jobs:
  quick:
    run: |
      ${script}
      sleep 0.02
  gate:
    grace: 0s
    run: |
      ${script}
      echo begun
      ${waitAtGate}
`;

let server: RunningServer;
beforeEach(async () => {
  if (!skip) server = await startGearmand();
});
afterEach(() => server?.[Symbol.asyncDispose]());

async function startAgent(folder?: string, executors?: number): Promise<TestAgent> {
  const place = folder === undefined ? {} : { folder };
  const agent = await TestAgent.start({ yaml: yaml(executors), ports: [server.port], ...place });
  if (!readdirSync(agent.stateDir).includes("gate")) await makeGate(agent.stateDir);
  return agent;
}

let uuids = 0;
const run = (job: string) =>
  submit(server.port, { function: `build:${job}:lab1`, unique: `u-${++uuids}`, data: "{}" });

/** Clients that submit one build after the other until they are told to stop. */
class Clients {
  readonly builds: Watched[] = [];
  readonly #stop = new AbortController();
  readonly #done: Promise<unknown>;
  #waiting: { count: number; resolve: () => void } | undefined;

  constructor(count: number) {
    this.#done = Promise.all(Array.from({ length: count }, () => this.#client()));
  }

  async #client(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const build = await run("quick");
      this.builds.push(build);
      await build.ended;
      if (this.#waiting && --this.#waiting.count === 0) this.#waiting.resolve();
    }
  }

  /** Resolves when so many more builds have ended. */
  more(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting = { count, resolve };
    return bounded(promise);
  }

  /** Resolves when the last builds have ended. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await bounded(this.#done);
  }
}

const assertAllPassed = (builds: readonly Watched[]) =>
  assert.deepEqual(
    builds.map(({ events }) => object(events.at(-1)).result).filter((result) => result !== "SUCCESS"),
    [],
  );

test("SIGTERM twice: what runs is given back, what is queued stays queued", { skip }, async () => {
  await using folder = await temporaryFolder();
  await using agent = await startAgent(folder.path);
  const running = [await run("gate"), await run("gate")];
  await Promise.all(running.map(({ started }) => started));
  const queued = [await run("quick"), await run("quick"), await run("quick")];
  agent.child.kill("SIGTERM");
  await agent.logged("once more stops them");
  assert.equal(await agent.end("SIGTERM"), 0);
  for (const build of running) assert.equal((await bounded(build.ended)).at(-1)?.type, "fail");
  await audit(agent, { builds: [...running, ...queued], queuedAt: server.port });

  await using next = await startAgent(folder.path);
  await Promise.all(queued.map(({ ended }) => bounded(ended)));
  assertAllPassed(queued);
  await audit(next, { builds: [...running, ...queued] });
});

test("restart --when-idle while clients go on submitting", { skip }, async () => {
  await using agent = await startAgent(undefined, 3);
  const clients = new Clients(6);
  await clients.more(10);
  const [{ pid }, open] = [await agent.status(), descriptors(agent.child.pid)];
  for (let restart = 1; restart <= 3; restart++) {
    assert.equal((await agent.command("restart", "--when-idle")).exitCode, 0);
    await agent.logged("is up", restart + 1);
    await clients.more(10);
  }
  await clients.stop();
  assert.equal((await agent.status()).pid, pid);
  assertAllPassed(clients.builds);
  await audit(agent, { builds: clients.builds, descriptors: open });
});

test("reloads that change the number of executors while builds run", { skip }, async () => {
  await using agent = await startAgent(undefined, 4);
  const clients = new Clients(8);
  const gates = [await run("gate"), await run("gate")];
  await Promise.all(gates.map(({ started }) => started));
  for (const [index, executors] of [1, 3, 1, 4, 3].entries()) {
    // Every second time there is one executor, which may be a gate's alone.
    if (index % 2 === 0) await clients.more(5);
    await writeFile(agent.config, `servers: ["127.0.0.1:${server.port}"]\n${yaml(executors)}`);
    if (index % 2 === 0) assert.equal((await agent.command("reload")).exitCode, 0);
    else agent.child.kill("SIGHUP");
    await agent.logged("is read again", index + 1);
  }
  await clients.more(5);
  const { nodes } = await agent.status();
  const builds = nodes.flatMap((node) => node.executors.map(({ build }) => build?.job));
  assert.equal(builds.filter((job) => job === "gate").length, 2, "both are shown, wherever they run");
  await clients.stop();
  await using _ = await openGate(agent.stateDir);
  await Promise.all(gates.map(({ ended }) => bounded(ended)));
  assertAllPassed([...clients.builds, ...gates]);
  await audit(agent, { builds: [...clients.builds, ...gates] });
  assert.equal(await agent.end("SIGTERM"), 0);
  await audit(agent, { builds: [...clients.builds, ...gates] });
});

test("SIGTERM right after a reload that took executors away", { skip }, async () => {
  await using agent = await startAgent(undefined, 4);
  await writeFile(agent.config, `servers: ["127.0.0.1:${server.port}"]\n${yaml(1)}`);
  agent.child.kill("SIGHUP");
  await agent.logged("is read again");
  assert.equal(await agent.end("SIGTERM"), 0, JSON.stringify(agent.log.at(-1)));
  await audit(agent, { builds: [] });
});

/** Every file below a folder, with what would show that it was touched. */
function snapshot(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .toSorted()
    .map((path) => {
      const { size, ino, mtimeMs, ctimeMs } = statSync(join(folder, path));
      return `${path} ${size} ${ino} ${mtimeMs} ${ctimeMs}`;
    });
}

test("a second agent with the same state directory, by any name, says so and touches nothing", {
  skip,
}, async () => {
  await using agent = await startAgent();
  const build = await run("gate");
  await build.started;
  await agent.logged("gate#1 assigned");
  // From then on the build writes nothing more.
  for (const name of ["console.log", "console.times"])
    while ((await agent.file("gate", 1, name).catch(() => "")).length === 0) await agent.status();
  const before = snapshot(agent.stateDir);
  await using elsewhere = await temporaryFolder();
  await symlink(agent.stateDir, join(elsewhere.path, "state"));
  for (const folder of [agent.folder, elsewhere.path]) {
    await using second = await TestAgent.launch({ yaml: yaml(), ports: [server.port], folder });
    assert.equal(await second.ended(), 1);
    assert.deepEqual(
      second.log.map(({ msg }) => /another labgear agent uses/.test(msg)),
      [true],
    );
  }
  assert.deepEqual(snapshot(agent.stateDir), before);
  assert.equal((await agent.status()).pid, agent.child.pid, "its control socket is still the first one's");
  assert.equal((await functions(server.port)).get("stop:box7")?.workers, 1);
  await using _ = await openGate(agent.stateDir);
  await bounded(build.ended);
  assertAllPassed([build]);
  await audit(agent, { builds: [build] });
});
