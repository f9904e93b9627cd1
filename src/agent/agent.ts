/** The agent's life: it follows reloads, pauses and drains, and goes down without losing a build. */
import type { Build } from "#/builds/build.ts";
import type { BuildStore } from "#/builds/store.ts";
import type { Config } from "#/config/model.ts";
import type { WorkerCounts } from "#/gearman/worker/worker.ts";
import { hardwareClasses } from "#/host/identity.ts";
import type { LabWatch } from "#/lab/watch.ts";
import type { Log } from "#/lib/log.ts";
import type { AgentStatus } from "#/lib/status.ts";
import type { BoardStatistics } from "./board-statistics.ts";
import type { Devices } from "./devices.ts";
import type { DiskSizes } from "./disk-sizes.ts";
import type { Exchange } from "./nodes/exchange.ts";
import type { JobReports } from "./nodes/job-report.ts";
import type { Leases } from "./nodes/lease/leases.ts";
import type { Manager } from "./nodes/manager.ts";
import type { Node, Nodes } from "./nodes/node.ts";
import type { Pages } from "./pages.ts";
import { serverAddresses } from "./servers.ts";
import type { StateStore } from "./state-store.ts";

/**
 *     running ──drain──▶ draining ──all builds ended──▶ drained
 *        ▲──────resume──────┴──────────────resume──────────┘
 *     any of these ──stop──▶ stopping ──▶ stopped
 */
export type AgentState = AgentStatus["state"];

/** The parts that live as long as the agent; compose.ts builds them. */
export interface AgentParts {
  readonly load: () => Promise<Config>;
  /** The configuration in force. */
  readonly inForce: { config: Config };
  readonly stateDir: string;
  readonly state: StateStore;
  readonly builds: BuildStore;
  readonly reports: JobReports;
  readonly counts: WorkerCounts;
  /** The controllers that enforce limits of builds. */
  readonly enforced: ReadonlySet<"cpu" | "memory" | "pids">;
  readonly host: Node;
  readonly nodes: Nodes;
  readonly devices: Devices;
  readonly manager: Manager;
  readonly exchange: Exchange;
  readonly leases: Leases;
  readonly pages: Pages;
  readonly lab: LabWatch;
  readonly sizes: DiskSizes;
  readonly statistics: BoardStatistics;
  readonly log: Log;
  /** All that has to be ended, the last first. */
  readonly resources: AsyncDisposableStack;
}

/** How long the way down waits for job servers to take the last endings. */
const deliveryTimeoutMs = 2000;

export class Agent implements AsyncDisposable {
  readonly since = new Date();
  readonly log: Log;
  readonly stateDir: string;
  readonly builds: BuildStore;
  readonly host: Node;
  readonly nodes: Nodes;
  readonly devices: Devices;
  readonly manager: Manager;
  readonly exchange: Exchange;
  readonly lab: LabWatch;
  readonly leases: Leases;
  readonly statistics: BoardStatistics;
  readonly sizes: DiskSizes;
  readonly #parts: AgentParts;
  #life: AgentState = "running";
  #then: "stop" | "restart" = "stop";
  /** Aborted by a resume, which takes back a restart that waits for the builds to end. */
  #resumed = new AbortController();
  /** When the configuration was read last, by the start or a reload. */
  lastReload: { readonly at: Date; readonly failed: boolean } = { at: this.since, failed: false };
  /** One reload after the other. Never rejects. */
  #reloads: Promise<void> = Promise.resolve();
  readonly #stopped = Promise.withResolvers<"stop" | "restart">();

  constructor(parts: AgentParts) {
    this.#parts = parts;
    this.log = parts.log;
    this.stateDir = parts.stateDir;
    this.builds = parts.builds;
    this.host = parts.host;
    this.nodes = parts.nodes;
    this.devices = parts.devices;
    this.manager = parts.manager;
    this.exchange = parts.exchange;
    this.lab = parts.lab;
    this.leases = parts.leases;
    this.statistics = parts.statistics;
    this.sizes = parts.sizes;
  }

  get config(): Config {
    return this.#parts.inForce.config;
  }

  get enforced(): AgentParts["enforced"] {
    return this.#parts.enforced;
  }

  /** Since the agent started. */
  get counts(): Readonly<WorkerCounts> {
    return this.#parts.counts;
  }

  /** Where users reach the pages. */
  get url(): string {
    return this.#parts.pages.url(this.config.http);
  }

  get life(): AgentState {
    return this.#life;
  }

  /** Settles when the agent has stopped: to stay down, or to be started again. */
  get stopped(): Promise<"stop" | "restart"> {
    return this.#stopped.promise;
  }

  /**
   * Reads the configuration again. All of it comes into force, or nothing.
   * @throws ConfigError, or what else keeps it from coming into force
   */
  reload(): Promise<void> {
    const reloaded = this.#reloads.then(() => this.#reload());
    const ended = (failed: boolean) => {
      this.lastReload = { at: new Date(), failed };
    };
    this.#reloads = reloaded.then(
      () => ended(false),
      () => ended(true),
    );
    return reloaded;
  }

  async #reload(): Promise<void> {
    const { load, inForce, pages } = this.#parts;
    // What can fail comes first, and changes nothing yet.
    const config = await load();
    const servers = await serverAddresses(config);
    const labels = await hostLabels(config);
    await this.devices.prepare(config);
    if (this.#life === "stopping" || this.#life === "stopped") throw new Error("the agent is going down");
    if (config.name !== this.config.name) {
      const text = "a changed name needs a restart; the rest of the configuration is in force";
      this.log.warn({}, text);
    }
    inForce.config = { ...config, name: this.config.name };
    this.host.apply(labels, servers);
    this.devices.apply(config, servers);
    this.manager.setServers(servers);
    this.exchange.worker.setServers(servers);
    this.lab.setServers(servers);
    await pages.serve(config.http);
    this.log.info({ files: config.files }, "the configuration is read again and in force");
  }

  /**
   * Takes no new builds until it is resumed, also after a restart.
   * @param name of a node; absent: all of the box
   * @param by who wants it
   * @throws StoreError
   */
  pause(reason: string, name?: string, by?: string): void {
    for (const node of this.#named(name)) {
      this.#parts.state.setPaused(node.name, reason);
      this.#hold(node, reason, by);
    }
  }

  /** Pauses the node of a build whose parameters ask for it. */
  takeOffline({ title, record }: Build): void {
    const reason = `OFFLINE_NODE_WHEN_COMPLETE of ${title}`;
    const node = this.nodes.find(record.node);
    if (node) this.#hold(node, reason, title);
    try {
      this.#parts.state.setPaused(record.node, reason);
    } catch (error) {
      const text = `${record.node} is paused only until a restart: ${(error as Error).message}`;
      this.log.error({ node: record.node }, text);
    }
  }

  #hold(node: Node, reason: string, by?: string): void {
    node.hold("paused", reason);
    this.devices.find(node.name)?.pause(reason, by);
    this.log.info({ node: node.name, ...(by !== undefined && { by }) }, `${node.name} is paused: ${reason}`);
  }

  /**
   * Takes builds again, after a pause or a drain; a restart that still waits is taken back.
   * @param name of a node; absent: all of the box
   * @throws StoreError
   */
  resume(name?: string): void {
    for (const node of this.#named(name)) {
      this.#parts.state.setPaused(node.name, undefined);
      node.release("paused");
      node.release("failing");
      this.devices.find(node.name)?.resume();
      this.log.info({ node: node.name }, `${node.name} is resumed`);
    }
    this.#endDrain();
  }

  #endDrain(): void {
    if (this.#life !== "draining" && this.#life !== "drained") return;
    this.#life = "running";
    this.nodes.release("draining");
    this.leases.endDrain();
    this.#resumed.abort();
    this.#resumed = new AbortController();
  }

  #named(name: string | undefined): readonly Node[] {
    return this.nodes.all.filter((node) => name === undefined || node.name === name);
  }

  /** Takes no new builds; resolves when none runs any more. Rejects with the signal's reason. */
  async drain(signal?: AbortSignal): Promise<void> {
    if (this.#life !== "stopping") this.#life = "draining";
    this.nodes.hold("draining", "no new builds are taken until the running ones have ended");
    this.leases.drain(this.config.drainLeasesMs);
    await this.nodes.settled(signal);
    if (this.#life === "draining") this.#life = "drained";
  }

  /** @throws ConfigError when an agent that starts now would refuse the configuration, and stay down */
  async checkRestart(): Promise<void> {
    await this.#parts.load();
  }

  /** Ends as soon as no build runs, to be started again at once, unless it is resumed before. */
  async restartWhenIdle(): Promise<void> {
    const { signal: resumed } = this.#resumed;
    try {
      await this.drain(resumed);
    } catch (error) {
      if (!resumed.aborted) throw error;
      this.log.info({}, "no restart: the agent was resumed");
      return;
    }
    try {
      // The files may have changed while builds ran.
      await this.checkRestart();
    } catch (error) {
      this.#endDrain();
      throw error;
    }
    if (this.#life === "drained" && !resumed.aborted) await this.stop("restart");
  }

  /**
   * Ends the agent.
   * @param patience absent or aborted: builds that still run are stopped without a result, so that Zuul runs them elsewhere
   */
  async stop(then: "stop" | "restart" = "stop", patience?: AbortSignal): Promise<void> {
    // A stop during a restart means: stay down.
    if (then === "stop" || this.#life !== "stopping") this.#then = then;
    if (this.#life === "stopping" || this.#life === "stopped") return;
    this.#life = "stopping";
    // One that had begun adds no node behind our back.
    await this.#reloads;
    if (patience) await this.drain(patience).catch(() => {});
    const goDown = (build: Build) =>
      void build.stop({ kind: "infrastructure", reason: "the agent is going down" });
    // Also one that a server hands out at this moment.
    this.builds.on("created", goDown);
    for (const build of this.builds.running) goDown(build);
    await this.drain();
    await this.#parts.reports.settled(AbortSignal.timeout(deliveryTimeoutMs));
    await this.#parts.resources.disposeAsync();
    this.#life = "stopped";
    this.log.info({}, "labgear has stopped");
    this.#stopped.resolve(this.#then);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** The classes of the host, with `auto` replaced by what the hardware says it is. */
export async function hostLabels({ host: { classes } }: Config): Promise<string[]> {
  const auto = classes.includes("auto") ? await hardwareClasses() : [];
  return [...new Set(classes.flatMap((name) => (name === "auto" ? auto : [name])))];
}
