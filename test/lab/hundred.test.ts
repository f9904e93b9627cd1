/** A lab of 100 agents, the real code in a few processes: what `labgear lab` takes, what a box spends on it, and half of them killed. */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { LabWatch } from "#/lab/watch.ts";
import type { LabView } from "#/lib/lab.ts";
import { lacks } from "../support/parts.ts";
import { scale } from "../support/scale.ts";
import { bounded, startGearmand, temporaryFolder } from "../support/servers.ts";

const child = new URL("agents-child.ts", import.meta.url).pathname;
const agents = 100;
const processes = 4;
const perProcess = agents / processes;
/** Agents with a board are all in the first process. */
const boards = 12;
/** Over which the processor's time is counted. */
const measuredMs = 60_000;
const patienceMs = 120_000;
const skip = scale<false | string>("only in the long run", false) || lacks("gearmand");

async function cpuMs(boxes: readonly ChildProcess[]): Promise<number> {
  const usages = boxes.map(async (box) => {
    const answer = once(box, "message");
    box.send("cpu");
    const [{ user, system }] = (await answer) as [NodeJS.CpuUsage];
    return (user + system) / 1000;
  });
  return (await Promise.all(usages)).reduce((sum, used) => sum + used, 0);
}

async function failed(box: ChildProcess): Promise<never> {
  const [code] = await once(box, "exit");
  throw new Error(`the agents' process ended: ${code}`);
}

/** Looks until the lab is as it should be. */
async function until(watch: LabWatch, condition: (view: LabView) => boolean): Promise<LabView> {
  for (;;) {
    const view = await watch.look();
    if (condition(view)) return view;
    await delay(200);
  }
}

test("a lab of many agents on one gearmand", { skip, timeout: 600_000 }, async (t) => {
  await using server = await startGearmand();
  await using folder = await temporaryFolder();
  await using resources = new AsyncDisposableStack();
  const boxes: ChildProcess[] = [];
  const kill = async (box: ChildProcess) => {
    if (box.exitCode !== null || box.signalCode !== null) return;
    const gone = once(box, "exit");
    box.kill("SIGKILL");
    await gone;
  };
  for (let index = 0; index < processes; index++) {
    const args = [`${server.port}`, `${index * perProcess}`, `${perProcess}`, `${boards}`, folder.path];
    const box = fork(child, args, {
      execArgv: ["--disable-warning=ExperimentalWarning"],
      stdio: ["ignore", "pipe", "inherit", "ipc"],
    });
    resources.defer(() => kill(box));
    boxes.push(box);
    if (box.stdout) await bounded(Promise.race([once(box.stdout, "data"), failed(box)]), patienceMs);
  }
  const address = { host: "127.0.0.1", port: server.port };
  const isWhole = ({ boxes: all }: LabView) => all.filter(({ state }) => state === "up").length === agents;
  await using watch = new LabWatch([address]);
  await bounded(until(watch, isWhole), patienceMs);

  const begun = performance.now();
  await using once_ = new LabWatch([address], { once: true });
  const view = await once_.look();
  t.diagnostic(`one look at ${agents} agents: ${Math.round(performance.now() - begun)} ms`);
  assert.equal(view.boards.length, boards);

  const measure = async (looks: boolean) => {
    const before = await cpuMs(boxes);
    const end = performance.now() + measuredMs;
    while (performance.now() < end) {
      if (looks) await watch.look();
      await delay(500);
    }
    return (100 * ((await cpuMs(boxes)) - before)) / measuredMs / agents;
  };
  const idle = await measure(false);
  const watched = await measure(true);
  t.diagnostic(
    `of a core, each agent: ${idle.toFixed(3)} % while nobody looks, ${watched.toFixed(3)} % while somebody does`,
  );

  for (const box of boxes.slice(processes / 2)) await kill(box);
  const killedAt = performance.now();
  const half = await bounded(
    until(watch, ({ boxes: all }) => all.filter(({ state }) => state === "away").length === agents / 2),
    patienceMs,
  );
  t.diagnostic(`half of them shown as away after ${Math.round(performance.now() - killedAt)} ms`);
  assert.equal(half.boxes.filter(({ state }) => state === "up").length, agents / 2);
});
