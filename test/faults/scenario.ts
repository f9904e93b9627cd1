/** Plays a plan: builds and faults, then everything is well again, every client has its ending, and the audit finds nothing. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import type { BuildRecord } from "#/builds/record.ts";
import { Running } from "../cli/running.ts";
import { audit, readRecords } from "../support/audit.ts";
import { functions, object, submit, type Watched } from "../support/clients.ts";
import { call } from "../support/exchange.ts";
import { fillDisk, freeDisk } from "../support/folders.ts";
import { buildProcesses, memory } from "../support/leftovers.ts";
import { seeded } from "../support/random.ts";
import { bounded, startRawServer, temporaryFolder } from "../support/servers.ts";
import { Box } from "./box.ts";
import { Broker } from "./broker.ts";
import { assertTold, type ScenarioClient, startClient, toldBy } from "./clients.ts";
import { FaultLine } from "./line.ts";
import type { Fault, Plan } from "./plan.ts";
import { assertVerdicts } from "./verdict.ts";

const boxName = "box7";
/** For everything to come to its end once all is well. */
const settleTimeoutMs = 110_000;
const enoughDescriptors = 1000;
/** What the compiler and the pools keep. */
const memoryAllowance = 96 * 1024 * 1024;

/** @throws AssertionError what the audit found */
export async function playScenario(plan: Plan): Promise<void> {
  await using scenario = await Scenario.start(plan);
  await scenario.play();
  await scenario.settle();
  await scenario.audit();
}

class Scenario implements AsyncDisposable {
  readonly #plan: Plan;
  readonly #resources: AsyncDisposableStack;
  /** The agents' way to the job server, and the clients'. */
  readonly #line: FaultLine;
  readonly #clientLine: FaultLine;
  readonly #boardLine: FaultLine;
  readonly #broker: Broker;
  readonly #boxes: readonly Box[];
  readonly #clientFolder: string;
  readonly #clients: ScenarioClient[] = [];
  readonly #leases: Running[] = [];

  private constructor(
    plan: Plan,
    resources: AsyncDisposableStack,
    parts: { line: FaultLine; clientLine: FaultLine; boardLine: FaultLine; broker: Broker; boxes: Box[] },
    clientFolder: string,
  ) {
    this.#plan = plan;
    this.#resources = resources;
    this.#line = parts.line;
    this.#clientLine = parts.clientLine;
    this.#boardLine = parts.boardLine;
    this.#broker = parts.broker;
    this.#boxes = parts.boxes;
    this.#clientFolder = clientFolder;
  }

  static async start(plan: Plan): Promise<Scenario> {
    await using resources = new AsyncDisposableStack();
    const random = seeded(plan.seed + 1);
    const line = resources.use(await FaultLine.start(random));
    const clientLine = resources.use(await FaultLine.start(random));
    const boardLine = resources.use(await FaultLine.start(random));
    const board = resources.use(await startEcho());
    boardLine.leadTo(board.port);
    const broker = resources.use(await Broker.start(plan.server, [line, clientLine]));
    const clientFolder = resources.use(await temporaryFolder()).path;
    const options = {
      name: boxName,
      executors: plan.executors,
      port: line.port,
      hasSmallDisk: plan.world === "disk",
      hasOwnClock: plan.world === "clock",
      ...(plan.world === "board" && { board: boardLine.port }),
    };
    const boxes: Box[] = [];
    for (let count = plan.world === "twins" ? 2 : 1; count > 0; count--)
      boxes.push(resources.use(await Box.start(options)));
    const warm = await submitPass(clientLine.port, "warm");
    const scenario = new Scenario(
      plan,
      resources.move(),
      { line, clientLine, boardLine, broker, boxes },
      clientFolder,
    );
    scenario.#clients.push(warm);
    await bounded(warm.ended);
    for (const box of boxes) {
      await scenario.#idle(box);
      box.noteIdle();
    }
    return scenario;
  }

  async play(): Promise<void> {
    const { builds, faults, seed } = this.#plan;
    const submitting = (async () => {
      for (const [index, planned] of builds.entries()) {
        await delay(planned.afterMs);
        const timeout = this.#plan.world === "clients" ? "5s" : "10m";
        const options = { port: this.#clientLine.port, folder: this.#clientFolder, timeout };
        this.#clients.push(await startClient(planned, `u-${seed}-${index}`, options));
      }
    })();
    submitting.catch(() => {});
    for (const fault of faults) {
      await delay(fault.afterMs);
      await this.#apply(fault);
    }
    await submitting;
  }

  async #apply(fault: Fault): Promise<void> {
    const line = this.#line;
    const box = this.#boxes[0] as Box;
    const { child } = box.agent;
    switch (fault.kind) {
      case "cut":
        return line.cut();
      case "damage":
        return line.damage();
      case "reload":
        child.kill("SIGHUP");
        return;
      case "slow":
        return line.slow(fault);
      case "hole":
        line.silence();
        if (fault.end === "half") line.dropServerEnd();
        await delay(fault.forMs);
        line.resume();
        if (fault.end === "cut") line.cut();
        return;
      case "refuse":
        line.refuse(true);
        line.cut();
        await delay(fault.forMs);
        return line.refuse(false);
      case "freeze-server":
        this.#broker.freeze();
        await delay(fault.forMs);
        return this.#broker.thaw();
      case "restart-server":
        await this.#broker.kill();
        await delay(fault.forMs);
        return await this.#broker.start();
      case "kill-agent":
        await box.kill();
        await delay(fault.forMs);
        return await box.startAgain();
      case "end-agent":
        await box.end();
        await delay(fault.forMs);
        return await box.startAgain();
      case "freeze-agent":
        child.kill("SIGSTOP");
        await delay(fault.forMs);
        child.kill("SIGCONT");
        return;
      case "stop":
        return await this.#stop(this.#planned(fault.build));
      case "kill-client": {
        const client = this.#planned(fault.build);
        if (!client?.running) return;
        client.isGone = client.running.child.exitCode === null;
        client.running.child.kill("SIGKILL");
        return;
      }
      case "freeze-client": {
        const client = this.#planned(fault.build);
        client?.running?.child.kill("SIGSTOP");
        await delay(fault.forMs);
        client?.running?.child.kill("SIGCONT");
        return;
      }
      case "fill-disk":
        if (!box.disk) return;
        fillDisk(box.disk);
        await delay(fault.forMs);
        return freeDisk(box.disk);
      case "no-descriptors":
        limitDescriptors(child.pid, 3 + fault.left);
        await delay(fault.forMs);
        return limitDescriptors(child.pid, enoughDescriptors);
      case "unplug":
        this.#boardLine.refuse(true);
        this.#boardLine.cut();
        await delay(fault.forMs);
        return this.#boardLine.refuse(false);
      case "lease": {
        const seconds = (fault.forMs / 1000).toFixed(3);
        const args = ["lease", "mcu", "--server", `127.0.0.1:${this.#clientLine.port}`];
        const running = this.#resources.use(Running.start([...args, "--", "sleep", seconds]));
        this.#leases.push(running);
        if (!fault.isKilled) return;
        await delay(fault.forMs);
        running.child.kill("SIGKILL");
        return;
      }
      case "set-clock":
        return await box.setClock(fault.aheadS);
    }
  }

  #planned(index: number): ScenarioClient | undefined {
    return this.#clients.find(({ uuid }) => uuid === `u-${this.#plan.seed}-${index}`);
  }

  /** Whether it stops anything depends on what runs just then. */
  async #stop(client: ScenarioClient | undefined): Promise<void> {
    if (!client) return;
    client.isStopped = true;
    const server = { host: "127.0.0.1", port: this.#clientLine.port };
    const asked = call(server, `stop:${boxName}`, Buffer.from(client.uuid));
    await bounded(asked, 5000).catch(() => {});
  }

  /** Makes everything well, stops what never ends, and waits until nothing runs and every client has its ending. */
  async settle(): Promise<void> {
    const { seed } = this.#plan;
    for (const line of [this.#line, this.#clientLine, this.#boardLine]) line.heal();
    const giveUpAt = performance.now() + settleTimeoutMs;
    const open = new Set(this.#clients);
    for (const client of open)
      client.ended.then(
        () => open.delete(client),
        () => open.delete(client),
      );
    for (const box of this.#boxes) await box.agent.command("resume");
    for (;;) {
      const endless = this.#clients.filter(
        (client) => client.isGone || (open.has(client) && client.planned.job === "wait"),
      );
      const { size } = open;
      if (size === 0 && (await this.#isIdle())) return;
      if (performance.now() > giveUpAt) break;
      for (const client of endless) await this.#stop(client);
      await delay(100);
    }
    const left = [...open].map(({ uuid, planned }) => `${uuid} (${planned.job}, ${planned.client})`);
    const states = await Promise.all(this.#boxes.map((box) => box.status()));
    const queued = [...(await functions(this.#broker.port))].filter(([, { total }]) => total > 0);
    const told = [...open].map(({ running, watched }) => running?.stderr ?? JSON.stringify(watched?.events));
    const what = JSON.stringify({ left, told, nodes: states.map(({ nodes }) => nodes), queued }, null, 1);
    throw new assert.AssertionError({ message: `seed ${seed} doesn't settle: ${what}` });
  }

  /** Nothing runs on the boxes, and nothing is queued for them. */
  async #isIdle(): Promise<boolean> {
    for (const box of this.#boxes) {
      const { nodes } = await box.status();
      if (nodes.some(({ executors }) => executors.some(({ build }) => build))) return false;
    }
    for (const lease of this.#leases) await lease.ended;
    const known = await functions(this.#broker.port);
    return [...known].every(([name, { total }]) => !/^(build|lease):/.test(name) || total === 0);
  }

  /** What is as it was takes builds as it did. */
  async #takesBuilds(): Promise<void> {
    const after = await submitPass(this.#clientLine.port, "after");
    this.#clients.push(after);
    const events = await bounded(after.watched.ended);
    assert.equal(events.at(-1)?.type, "complete", "a build passes after all that");
    for (const box of this.#boxes) await this.#idle(box);
  }

  async #idle(box: Box): Promise<void> {
    const isBusy = async () =>
      (await box.status()).nodes.some(({ executors }) => executors.some(({ build }) => build));
    while (await isBusy());
  }

  async audit(): Promise<void> {
    const { world, server } = this.#plan;
    await this.#takesBuilds();
    for (const [index, box] of this.#boxes.entries()) {
      const { agent, stateDir } = box;
      const records = readRecords(stateDir);
      const own = this.#clients.filter((client) => this.#boxes.length === 1 || isTellerOf(records, client));
      await assertVerdicts(stateDir, records, this.#clients, this.#plan);
      for (const client of own) {
        if (client.running && !client.isGone) assertTold(client, await toldBy(client.running), records);
      }
      const builds = own.flatMap(({ watched }) => (watched ? [watched] : []));
      // A build that is killed right after its assignment has no record yet.
      const gaps = {
        gaps: 2 * this.#plan.executors * box.kills + (world === "disk" || world === "descriptors" ? 100 : 0),
      };
      await audit(agent, { builds, ...gaps, descriptors: box.idle.descriptors });
      const grown = memory(agent.child.pid, "VmRSS") - box.idle.memoryBytes;
      assert.ok(grown < memoryAllowance, `${grown} bytes more than in the beginning`);
      assert.deepEqual(box.leftovers(), [], "no temporary file is left");
      assert.equal(await agent.end("SIGTERM"), 0, `box ${index} ends well`);
      await audit(agent, { builds, ...gaps });
      assert.deepEqual(buildProcesses(stateDir), []);
      assert.deepEqual(box.leftovers(), [], "no temporary file is left");
    }
    // A pass that was neither stopped nor given back has passed on some box.
    if (server !== "perl" && world === "line") this.#assertAllTold();
  }

  /** A broken line alone takes no build's result. */
  #assertAllTold(): void {
    for (const box of this.#boxes)
      for (const { uuid, result, ending } of readRecords(box.stateDir).values())
        assert.ok(result !== undefined, `${uuid} has no result: ${ending?.reason}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#broker.thaw();
    for (const { running } of this.#clients) await running?.[Symbol.asyncDispose]().catch(() => {});
    for (const line of [this.#line, this.#clientLine, this.#boardLine]) line.heal();
    await this.#resources.disposeAsync();
  }
}

async function submitPass(port: number, uuid: string): Promise<ScenarioClient & { watched: Watched }> {
  const planned = { afterMs: 0, job: "pass", client: "test", pauseMs: 0, inputBytes: 0 } as const;
  const data = JSON.stringify({ ZUUL_UUID: uuid });
  const watched = await submit(port, { function: "build:pass", unique: uuid, data });
  return { planned, uuid, digest: "", isStopped: false, isGone: false, watched, ended: watched.ended };
}

/** Whether what a client was told is of this box, and not of the other one of its name. */
function isTellerOf(records: ReadonlyMap<string, BuildRecord>, { uuid, watched }: ScenarioClient): boolean {
  const told = watched?.events.findLast(({ type }) => type === "data" || type === "complete");
  const { name, number, result } = told ? object(told) : {};
  const record = records.get(`${name}#${number}`);
  return record?.uuid === uuid && record.result === result;
}

/** A board that answers each line. */
function startEcho() {
  return startRawServer((socket) => {
    socket.on("data", (bytes: Buffer) => {
      if (bytes.includes("ping") && socket.writable) socket.write("pong\r\n");
    });
  });
}

function limitDescriptors(pid: number | undefined, number: number): void {
  execFileSync("prlimit", ["--pid", `${pid}`, `--nofile=${number}:`]);
}
