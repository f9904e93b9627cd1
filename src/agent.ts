/** The agent: puts all rooms together, and follows reloads, holds and the way down. */
import { realpath } from "node:fs/promises";
import { join } from "node:path";
import type { Build } from "#/builds/build.ts";
import { BuildStore } from "#/builds/store.ts";
import type { Config, JobConfig } from "#/config/model.ts";
import { openStore, type StateStore } from "#/config/store.ts";
import { ControlServer } from "#/control/server.ts";
import { hardwareClasses } from "#/host/hardware.ts";
import { lockFolder } from "#/host/lock.ts";
import { hostFacts } from "#/host/network.ts";
import { boxTrouble, tryFolder } from "#/host/trouble.ts";
import type { NodeContext } from "#/nodes/context.ts";
import { onHost } from "#/nodes/host-build.ts";
import type { Log } from "#/nodes/log.ts";
import { Manager } from "#/nodes/manager.ts";
import { Node } from "#/nodes/node.ts";
import { Nodes } from "#/nodes/nodes.ts";
import { Reports } from "#/nodes/reports.ts";
import { openTrees } from "#/runners/trees.ts";
import { Boards } from "./boards.ts";
import { startEmbedded } from "./embedded.ts";
import { Housekeeping } from "./housekeeping.ts";
import { labOf } from "./lab.ts";
import { Pages } from "./pages.ts";
import { controlRoutes } from "./routes.ts";
import { serverAddresses } from "./servers.ts";
import { version } from "./version.ts";

/**
 *     running ──drain──▶ draining ──all builds ended──▶ drained
 *        ▲──────resume──────┴──────────────resume──────────┘
 *     any of these ──stop──▶ stopping ──▶ stopped
 */
export type AgentState = "running" | "draining" | "drained" | "stopping" | "stopped";

export interface AgentOptions {
  /** Reads the configuration; called again for each reload. */
  readonly load: () => Promise<Config>;
  readonly stateDir: string;
  /** The control socket's file. */
  readonly control: string;
  readonly log: Log;
}

/** How long the way down waits for job servers to take the last endings, in milliseconds. */
const deliveryTime = 2000;

interface Parts {
  readonly inForce: { config: Config };
  readonly state: StateStore;
  readonly builds: BuildStore;
  readonly reports: Reports;
  readonly host: Node;
  readonly nodes: Nodes;
  readonly boards: Boards;
  readonly manager: Manager;
  readonly pages: Pages;
  readonly resources: AsyncDisposableStack;
}

export class Agent implements AsyncDisposable {
  readonly since = new Date();
  readonly log: Log;
  readonly stateDir: string;
  readonly builds: BuildStore;
  readonly host: Node;
  readonly nodes: Nodes;
  readonly boards: Boards;
  readonly manager: Manager;
  readonly #options: AgentOptions;
  readonly #parts: Parts;
  #life: AgentState = "running";
  #then: "stop" | "restart" = "stop";
  readonly #stopped = Promise.withResolvers<"stop" | "restart">();

  private constructor(options: AgentOptions, parts: Parts) {
    this.#options = options;
    this.#parts = parts;
    this.log = options.log;
    this.stateDir = options.stateDir;
    this.builds = parts.builds;
    this.host = parts.host;
    this.nodes = parts.nodes;
    this.boards = parts.boards;
    this.manager = parts.manager;
  }

  /**
   * Starts the agent; resolves when it listens and has begun to connect to its job servers.
   * @throws the errors of the rooms, each with one line that says what keeps it from running
   */
  static async start(options: AgentOptions): Promise<Agent> {
    const { log } = options;
    await using resources = new AsyncDisposableStack();
    const inForce = { config: await options.load() };
    const { config } = inForce;
    resources.use(await lockFolder(options.stateDir));
    // Whatever name it has today, what an earlier agent left is found by this one.
    const stateDir = await realpath(options.stateDir);
    const state = openStore(stateDir);
    const trees = resources.use(await openTrees({ id: stateDir }));
    const pages = new Pages(log);
    const opened = await BuildStore.open({
      folder: join(stateDir, "builds"),
      nextNumber: (job, floor) => state.nextBuildNumber(job, floor),
      url: (job, number) => `${pages.url(inForce.config.http)}/builds/${encodeURIComponent(job)}/${number}`,
    });
    for (const warning of [...state.warnings, ...trees.warnings, ...opened.warnings]) log.warn({}, warning);
    for (const { job, number, uuid } of opened.lost) {
      log.warn({ job, number, uuid }, `${job}#${number} is lost: the agent ended while it ran`);
    }
    if (config.servers.length === 0) resources.use(await startEmbedded(log));
    const servers = await serverAddresses(config);
    const host = await hostFacts();
    const reports = new Reports({
      store: opened.store,
      config: () => inForce.config,
      worker: () => ({ manager: config.name, version, ...host }),
      log,
    });
    const nodes = resources.use(new Nodes());
    const context: NodeContext = {
      config: () => inForce.config,
      store: opened.store,
      reports,
      stateDir,
      trees,
      log,
      tryBox: () => tryFolder(stateDir, false),
      troubleOf: boxTrouble,
      onTrouble: (reason) => nodes.hold("trouble", reason),
    };
    const manager = resources.use(new Manager({ name: config.name, servers, store: opened.store, log }));
    const onOffline = (build: Build) =>
      agent.pause(`OFFLINE_NODE_WHEN_COMPLETE of ${build.title}`, build.record.node);
    const node = new Node({
      name: config.name,
      labels: await resolveClasses(config),
      servers,
      context,
      executors: () => inForce.config.host.executors,
      jobs: () => hostJobs(inForce.config),
      carryOut: onHost(context),
      onOffline,
    });
    nodes.add(node);
    const boards = resources.use(new Boards({ nodes, context, state, onOffline }));
    await boards.apply(config, servers);
    const parts = {
      inForce,
      state,
      builds: opened.store,
      reports,
      host: node,
      nodes,
      boards,
      manager,
      pages,
      resources: resources.move(),
    };
    const agent = new Agent({ ...options, stateDir }, parts);
    try {
      await agent.#begin();
    } catch (error) {
      await parts.resources.disposeAsync();
      throw error;
    }
    return agent;
  }

  async #begin(): Promise<void> {
    const { resources, state, pages } = this.#parts;
    const { stateDir, builds, nodes, log } = this;
    const paused = state.pausedNodes().get(this.host.name);
    if (paused !== undefined) this.host.hold("paused", paused);
    const house = resources.use(
      new Housekeeping({ config: () => this.config, stateDir, builds, nodes, log }),
    );
    resources.use(await ControlServer.listen(this.#options.control, controlRoutes(this)));
    await house.round();
    resources.use(pages);
    await pages.serve(labOf(this), this.config.http);
    const names = nodes.all.flatMap((node) => [...node.functions]);
    this.log.info({ manager: this.config.name, functions: names }, `labgear ${version} is up`);
  }

  get config(): Config {
    return this.#parts.inForce.config;
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
   * Reads the configuration again. A broken one changes nothing.
   * @throws ConfigError
   */
  async reload(): Promise<void> {
    const config = await this.#options.load();
    const servers = await serverAddresses(config);
    const labels = await resolveClasses(config);
    if (config.name !== this.config.name) {
      this.log.warn(
        {},
        "a changed name is only taken up by a restart; the rest of the configuration is in force",
      );
    }
    this.#parts.inForce.config = config;
    this.host.apply(labels, servers);
    await this.boards.apply(config, servers);
    this.manager.worker.setServers(servers);
    await this.#parts.pages.serve(labOf(this), config.http);
    this.log.info({ files: config.files }, "the configuration is read again and in force");
  }

  /**
   * Takes no new builds until it is resumed; outlives a restart.
   * @param name of a node; absent: all of the box
   */
  pause(reason: string, name?: string): void {
    for (const node of this.#named(name)) {
      this.#parts.state.setPaused(node.name, reason);
      node.hold("paused", reason);
      this.boards.find(node.name)?.pause(reason);
      this.log.info({ node: node.name }, `${node.name} is paused: ${reason}`);
    }
  }

  /**
   * Takes builds again, after a pause or a drain.
   * @param name of a node; absent: all of the box
   */
  resume(name?: string): void {
    for (const node of this.#named(name)) {
      this.#parts.state.setPaused(node.name, undefined);
      node.release("paused");
      this.boards.find(node.name)?.resume();
      this.log.info({ node: node.name }, `${node.name} is resumed`);
    }
    if (this.#life === "draining" || this.#life === "drained") {
      this.#life = "running";
      this.nodes.release("draining");
    }
  }

  #named(name: string | undefined): readonly Node[] {
    return this.nodes.all.filter((node) => name === undefined || node.name === name);
  }

  /** Takes no new builds; resolves when none runs any more. Rejects with the signal's reason. */
  async drain(signal?: AbortSignal): Promise<void> {
    if (this.#life !== "stopping") this.#life = "draining";
    this.nodes.hold("draining", "no new builds are taken until those that run have ended");
    await this.nodes.settled(signal);
    if (this.#life === "draining") this.#life = "drained";
  }

  /** Ends as soon as no build runs, to be started again at once. */
  async restartWhenIdle(): Promise<void> {
    await this.drain();
    if (this.#life === "drained") await this.stop("restart");
  }

  /**
   * Ends the agent. Builds that still run when `patience` is aborted are stopped, with no result, so that Zuul
   * runs them again elsewhere.
   */
  async stop(then: "stop" | "restart" = "stop", patience?: AbortSignal): Promise<void> {
    // Who asks for an end while a restart is under way means it.
    if (then === "stop" || this.#life !== "stopping") this.#then = then;
    if (this.#life === "stopping" || this.#life === "stopped") return;
    this.#life = "stopping";
    if (patience) await this.drain(patience).catch(() => {});
    const goDown = (build: Build) =>
      void build.stop({ kind: "infrastructure", reason: "the agent is going down" });
    // Also one that a server is just about to hand out.
    this.builds.on("created", goDown);
    for (const build of this.builds.running) goDown(build);
    await this.drain();
    await this.#parts.reports.settled(AbortSignal.timeout(deliveryTime));
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
async function resolveClasses(config: Config): Promise<string[]> {
  const { classes } = config.host;
  const auto = classes.includes("auto") ? await hardwareClasses() : [];
  return [...new Set(classes.flatMap((name) => (name === "auto" ? auto : [name])))];
}

/** The jobs that the host can run: all that are a script for it. */
function hostJobs({ jobs }: Config): JobConfig[] {
  return [...jobs.values()].filter(({ work }) => work.kind === "run");
}
