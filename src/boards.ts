/** The devices of the box and their nodes: made, changed and taken away as the configuration says. */
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Build } from "#/builds/build.ts";
import { baseEnvironment } from "#/builds/environment.ts";
import type { Config, DeviceConfig, JobConfig } from "#/config/model.ts";
import type { StateStore } from "#/config/store.ts";
import { newConsole } from "#/devices/consoles/new-console.ts";
import { newTypingProfile } from "#/devices/consoles/typing.ts";
import { Device } from "#/devices/device.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { HealthRecord } from "#/devices/health.ts";
import { Port } from "#/devices/port/port.ts";
import { type HostCommand, Power } from "#/devices/power.ts";
import type { ServerAddress } from "#/gearman/dial.ts";
import { loadSystemCalls, type SystemCalls } from "#/host/syscalls.ts";
import type { NodeContext } from "#/nodes/context.ts";
import { onDevice } from "#/nodes/device-build.ts";
import { Node } from "#/nodes/node.ts";
import type { Nodes } from "#/nodes/nodes.ts";
import { runHost } from "#/runners/host.ts";

export interface BoardsOptions {
  readonly nodes: Nodes;
  readonly context: NodeContext;
  readonly state: StateStore;
  readonly onOffline: (build: Build) => void;
}

interface Board {
  readonly device: Device;
  readonly node: Node;
}

/** How long a power command may take, in milliseconds. */
const commandTime = 30_000;
/** How much of what it prints is kept for a message, in bytes. */
const mostOutput = 4096;

export class Boards implements AsyncDisposable {
  readonly discovery = new Discovery();
  readonly #options: BoardsOptions;
  readonly #calls: SystemCalls | undefined = loadSystemCalls();
  readonly #boards = new Map<string, Board>();
  /** Those that were taken away and still have their last build. */
  readonly #leaving = new Map<string, Promise<void>>();
  #servers: readonly ServerAddress[] = [];

  constructor(options: BoardsOptions) {
    this.#options = options;
  }

  get devices(): readonly Device[] {
    return [...this.#boards.values()].map(({ device }) => device);
  }

  find(name: string): Device | undefined {
    return this.#boards.get(name)?.device;
  }

  /**
   * Follows the configuration. A device that changed is made anew as soon as its build has ended.
   * @throws the file system's error
   */
  async apply({ devices }: Config, servers: readonly ServerAddress[]): Promise<void> {
    this.#servers = servers;
    for (const [name, board] of [...this.#boards]) {
      const config = devices.get(name);
      if (config && isDeepStrictEqual(config, board.device.config)) board.node.apply(config.classes, servers);
      else this.#remove(name, board);
    }
    for (const config of devices.values()) {
      if (this.#boards.has(config.name)) continue;
      const leaving = this.#leaving.get(config.name);
      if (!leaving) await this.#add(config);
      // Another reload may have taken it away by then.
      else void leaving.then(() => this.#addIfWanted(config.name));
    }
  }

  async #addIfWanted(name: string): Promise<void> {
    const { context } = this.#options;
    const config = context.config().devices.get(name);
    if (!config || this.#boards.has(name)) return;
    await this.#add(config).catch((error) => context.log.error({ device: name }, error.message));
  }

  #remove(name: string, { device, node }: Board): void {
    this.#boards.delete(name);
    const left = this.#options.nodes
      .remove(node)
      .then(() => device[Symbol.asyncDispose]())
      .catch((error) => this.#options.context.log.error({ device: name }, error.message))
      .finally(() => this.#leaving.delete(name));
    this.#leaving.set(name, left);
  }

  async #add(config: DeviceConfig): Promise<void> {
    const { context, state, nodes, onOffline } = this.#options;
    const { name } = config;
    const { log } = context;
    const folder = join(context.stateDir, "devices", encodeURIComponent(name));
    await mkdir(folder, { recursive: true });
    const profile = newTypingProfile();
    const port = new Port({ name, config: config.port, discovery: this.discovery, calls: this.#calls });
    const device = new Device({
      config,
      port,
      power: new Power(config, this.#hostCommand(name, folder)),
      newConsole: () => newConsole(config, profile),
      health: new HealthRecord(config, state.deviceHealth().get(name) ?? { failures: 0 }, (health) => {
        try {
          state.setDeviceHealth(name, health);
        } catch (error) {
          log.error({ device: name }, `its health won't outlive a restart: ${(error as Error).message}`);
        }
      }),
    });
    const node = new Node({
      name,
      labels: config.classes,
      servers: this.#servers,
      context,
      executors: () => 1,
      jobs: () => offeredJobs(device, context.config()),
      device: name,
      carryOut: onDevice(context, device),
      onOffline,
    });
    this.#boards.set(name, { device, node });
    const follow = () => {
      const { state, standing } = device;
      const reason = "reason" in state ? state.reason : "";
      if (standing === "offered" || standing === "health") node.release("device");
      else node.hold("device", reason ? `${state.kind}: ${reason}` : state.kind);
      node.offer();
    };
    device.on("changed", () => {
      follow();
      this.#tell(device);
    });
    nodes.add(node);
    follow();
    const paused = state.pausedNodes().get(name);
    if (paused === undefined) return;
    device.pause(paused);
    node.hold("paused", paused);
  }

  #tell({ name, state }: Device): void {
    const { log } = this.#options.context;
    const reason = "reason" in state ? `: ${state.reason}` : "";
    const isBad = ["absent", "quarantined", "recovering"].includes(state.kind);
    log[isBad ? "warn" : "info"]({ device: name, state: state.kind }, `${name} is ${state.kind}${reason}`);
  }

  /** Power commands run as jobs do: their whole tree ends with them. */
  #hostCommand(name: string, folder: string): HostCommand {
    const { trees } = this.#options.context;
    return async (script, signal) => {
      let output = Buffer.alloc(0);
      const ending = await runHost({
        script,
        scriptFile: join(folder, "command"),
        cwd: folder,
        env: { ...baseEnvironment(), LABGEAR_DEVICE: name },
        grace: 1000,
        limits: {},
        name: `device.${encodeURIComponent(name)}`,
        trees,
        owner: "operator",
        output: (chunk) => {
          output = Buffer.concat([output, chunk]).subarray(-mostOutput);
        },
        signal: AbortSignal.any([signal, AbortSignal.timeout(commandTime)]),
      });
      return { code: ending.stopped ? null : (ending.code ?? 1), output: output.toString("utf8") };
    };
  }

  /** Resolves when every device is ready and its functions are registered. Rejects with the signal's reason. */
  async ready(signal: AbortSignal): Promise<void> {
    for (const { device, node } of this.#boards.values()) {
      while (device.state.kind !== "ready") await once(device, "changed", { signal });
      await node.registered(signal);
    }
  }

  /** Ends all of them: builds must have been told to stop. */
  async [Symbol.asyncDispose](): Promise<void> {
    const boards = [...this.#boards.values()];
    await Promise.all([
      ...this.#leaving.values(),
      ...boards.map(({ device }) => device[Symbol.asyncDispose]()),
    ]);
    this.discovery[Symbol.dispose]();
  }
}

/** What a device offers by its standing: jobs that name it or a class of its, no others. */
function offeredJobs({ standing, name, config }: Device, { jobs }: Config): JobConfig[] {
  if (standing === "withdrawn") return [];
  if (standing !== "health") return [...jobs.values()].filter((job) => job.nodes !== undefined);
  const job = jobs.get(config.health.job ?? "");
  return job ? [{ ...job, nodes: [name] }] : [];
}
