/** The agent's life: it begins, follows reloads, holds and drains, and goes down without losing a build. */
import type { Build } from "#/builds/build.ts";
import type { BuildStore } from "#/builds/store.ts";
import type { Config } from "#/config/model.ts";
import { ControlServer } from "#/control/server.ts";
import type { Log } from "#/lib/log.ts";
import type { AgentStatus } from "#/lib/status.ts";
import { version } from "#/lib/version.ts";
import { assemble, type Parts, resolveClasses } from "./compose.ts";
import { controlRoutes } from "./control-routes.ts";
import type { Boards } from "./devices.ts";
import { Housekeeping } from "./housekeeping.ts";
import type { Manager } from "./nodes/manager.ts";
import type { Node } from "./nodes/node.ts";
import type { Nodes } from "./nodes/nodes.ts";
import { serverAddresses } from "./servers.ts";
import { labOf } from "./status.ts";

/**
 *     running ──drain──▶ draining ──all builds ended──▶ drained
 *        ▲──────resume──────┴──────────────resume──────────┘
 *     any of these ──stop──▶ stopping ──▶ stopped
 */
export type AgentState = AgentStatus["state"];

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
    this.stateDir = parts.stateDir;
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
    const parts = await assemble({
      ...options,
      onOffline: (build) => agent.pause(`OFFLINE_NODE_WHEN_COMPLETE of ${build.title}`, build.record.node),
    });
    const agent = new Agent(options, parts);
    try {
      await agent.#begin();
    } catch (error) {
      await parts.resources.disposeAsync();
      throw error;
    }
    return agent;
  }

  async #begin(): Promise<void> {
    const { resources, pages } = this.#parts;
    const { stateDir, builds, nodes, log } = this;
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
