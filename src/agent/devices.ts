/** The devices of the box and their nodes: opened, changed and closed as the configuration says. */
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Build } from "#/builds/build.ts";
import { baseEnvironment } from "#/builds/environment.ts";
import { type BuildRecord, causeOf } from "#/builds/record.ts";
import type { Config, DeviceConfig, JobConfig } from "#/config/model.ts";
import type { Device, openDevice } from "#/devices/device.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { isBoardsFault } from "#/devices/errors.ts";
import { BoardHistory } from "#/devices/history.ts";
import type { HostCommand } from "#/devices/power.ts";
import { leaseJob } from "#/exchange/lease.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { loadSystemCalls } from "#/host/syscalls.ts";
import type { Log } from "#/lib/log.ts";
import type { NodeContext } from "./nodes/executor.ts";
import type { Leases } from "./nodes/lease/leases.ts";
import { Node, type Nodes } from "./nodes/node.ts";
import type { StateStore } from "./state-store.ts";

export interface DevicesOptions {
  readonly nodes: Nodes;
  readonly context: NodeContext;
  readonly leases: Leases;
  readonly state: StateStore;
}

/** A device and the node that offers it to job servers. */
interface Entry {
  readonly device: Device;
  readonly node: Node;
  readonly history: BoardHistory;
  /** Line errors up to its last build. */
  lineErrors: number;
}

/** Of what a power command prints, kept for a message. */
const maxOutputBytes = 4096;

/**
 * A name stands for one device at a time. A device that a reload changes or removes finishes its last build and closes; then
 * whatever device the latest configuration has under that name opens. In between, any number of reloads may come.
 *
 *     closed ──configured──▶ in service ──changed, removed──▶ leaving ──last build ended──▶ closed
 */
export class Devices implements AsyncDisposable {
  readonly #options: DevicesOptions;
  readonly #calls = loadSystemCalls();
  readonly #discovery = new Discovery();
  readonly #inService = new Map<string, Entry>();
  readonly #leaving = new Map<string, { readonly node: Node; readonly closed: Promise<void> }>();
  #configured: ReadonlyMap<string, DeviceConfig> = new Map();
  #servers: readonly ServerAddress[] = [];
  #openDevice: typeof openDevice = () => {
    throw new Error("prepare() comes before the first device");
  };

  constructor(options: DevicesOptions) {
    this.#options = options;
    options.context.store.on("ended", this.#onEnded);
  }

  /** Those in service. */
  get all(): readonly Device[] {
    return [...this.#inService.values()].map(({ device }) => device);
  }

  find(name: string): Device | undefined {
    return this.#inService.get(name)?.device;
  }

  /** What has happened to a device's board; undefined: there is no such device. */
  historyOf(name: string): BoardHistory | undefined {
    return this.#inService.get(name)?.history;
  }

  readonly #onEnded = ({ title, record }: Build): void => {
    const entry = this.#inService.get(record.device ?? "");
    const { ending } = record;
    if (!entry || !ending) return;
    const { errors } = entry.device.port.counters;
    const lineErrors = errors - entry.lineErrors;
    entry.lineErrors = errors;
    const cause = causeOf(ending);
    // A lease is a person's, and ends as its holder likes.
    const isUncounted =
      record.job === leaseJob || this.#options.context.config().jobs.get(record.job)?.needs === "power";
    const bootMs = bootTimeOf(record);
    const event = {
      ...{ build: title, ending: ending.kind, cause },
      ...(lineErrors > 0 && { lineErrors }),
      ...(bootMs !== undefined && { bootMs: Math.round(bootMs) }),
      ...(isUncounted && { uncounted: true as const }),
    };
    entry.history.ended(event, ending.kind === "infrastructure" && isBoardsFault(cause));
  };

  /**
   * Does everything that can fail before a configuration is applied.
   * @throws the file system's error
   */
  async prepare({ devices }: Config): Promise<void> {
    if (devices.size === 0) return;
    // A box without boards does without this code: 8 MB, and a tenth of a second at the start.
    this.#openDevice = (await import("#/devices/device.ts")).openDevice;
    for (const name of devices.keys()) await mkdir(this.#folder(name), { recursive: true });
  }

  /** Follows a configuration that prepare() has seen. */
  apply({ devices, remote }: Config, servers: readonly ServerAddress[]): void {
    this.#configured = devices;
    this.#servers = servers;
    const isLeased = [...devices.values()].some(({ lease }) => lease !== undefined);
    const isNeeded = isLeased || (remote.console && devices.size > 0);
    this.#options.leases.serve(isNeeded ? servers : [], remote.console);
    for (const name of new Set([...this.#inService.keys(), ...devices.keys()])) this.#follow(name);
  }

  #follow(name: string): void {
    const entry = this.#inService.get(name);
    const config = this.#configured.get(name);
    // When it has left, the configuration of that moment counts.
    if (this.#leaving.has(name)) return;
    if (!entry) {
      if (config) this.#open(config);
    } else if (isDeepStrictEqual(config, entry.device.config)) {
      entry.node.apply(entry.device.config.classes, this.#servers);
    } else {
      this.#leaving.set(name, { node: entry.node, closed: this.#close(name, entry) });
    }
  }

  async #close(name: string, { device, node, history }: Entry): Promise<void> {
    this.#inService.delete(name);
    // Fails only when the agent goes down before its last build has ended.
    await this.#options.nodes.remove(node).catch(() => {});
    await device[Symbol.asyncDispose]();
    history[Symbol.dispose]();
    this.#leaving.delete(name);
    this.#follow(name);
  }

  #open(config: DeviceConfig): void {
    const { nodes, context, leases, state } = this.#options;
    const { name } = config;
    const { log } = context;
    const device = this.#openDevice(config, {
      discovery: this.#discovery,
      calls: this.#calls,
      command: hostCommand(name, this.#folder(name), context),
      health: state.deviceHealth().get(name) ?? { failures: 0 },
      saveHealth: (health) => {
        try {
          state.setDeviceHealth(name, health);
        } catch (error) {
          log.error({ device: name }, `its health won't survive a restart: ${(error as Error).message}`);
        }
      },
    });
    const node = new Node({
      name,
      labels: config.classes,
      servers: this.#servers,
      context,
      executors: () => 1,
      jobs: () => offeredJobs(device, context.config()),
      device: name,
      reserve: async (request) => (await import("./nodes/run-device-build.ts")).reserveBoard(device, request),
      ...(config.lease && {
        lease: {
          isOffered: () => device.standing === "offered" || device.standing === "held",
          run: async (request) =>
            (await import("./nodes/lease/run-lease.ts")).runLease(device, request, { ...context, leases }),
        },
      }),
    });
    const history = new BoardHistory({
      folder: join(this.#folder(name), "history"),
      now: () => Date.now(),
      fault: (message) => log.error({ device: name }, message),
    });
    this.#inService.set(name, { device, node, history, lineErrors: 0 });
    // Before the device releases it: whatever holds the whole box holds this node too.
    nodes.add(node);
    holdUnlessOffered(node, device);
    history.enter(device.state);
    device.on("changed", () => {
      history.enter(device.state);
      holdUnlessOffered(node, device);
      logState(log, device);
    });
    const paused = state.pausedNodes().get(name);
    if (paused === undefined) return;
    device.pause(paused);
    node.hold("paused", paused);
  }

  /** Of one device, for the files of its power commands. */
  #folder(name: string): string {
    return join(this.#options.context.stateDir, "devices", encodeURIComponent(name));
  }

  /** Resolves when every device is ready and its functions are registered. Rejects with the signal's reason. */
  async ready(signal: AbortSignal): Promise<void> {
    for (const { device, node } of this.#inService.values()) {
      while (device.state.kind !== "ready") await once(device, "changed", { signal });
      await node.registered(signal);
    }
  }

  /** Closes all of them. Builds must have been stopped before. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.context.store.off("ended", this.#onEnded);
    // Nothing opens any more.
    this.#configured = new Map();
    const devices = [...this.#inService.values()].map(async ({ device, history }) => {
      await device[Symbol.asyncDispose]();
      history[Symbol.dispose]();
    });
    const leaving = [...this.#leaving.values()].map(async ({ node, closed }) => {
      await node[Symbol.asyncDispose]();
      await closed;
    });
    await Promise.all([...devices, ...leaving]);
    this.#discovery[Symbol.dispose]();
  }
}

function holdUnlessOffered(node: Node, { state, standing }: Device): void {
  const reason = "reason" in state ? state.reason : "";
  const isUsable = standing === "unproved" && node.functions.size > 0;
  if (standing === "offered" || standing === "health" || isUsable) node.release("device");
  else node.hold("device", reason ? `${state.kind}: ${reason}` : state.kind);
  node.offer();
}

/** What a device offers in its standing: jobs that name it or one of its classes. */
function offeredJobs({ standing, name, config }: Device, { jobs }: Config): JobConfig[] {
  if (standing === "withdrawn") return [];
  if (standing === "unproved")
    return [...jobs.values()].filter(({ nodes, needs }) => nodes && needs === "power");
  if (standing !== "health") return [...jobs.values()].filter((job) => job.nodes !== undefined);
  const job = jobs.get(config.health.job ?? "");
  return job ? [{ ...job, nodes: [name] }] : [];
}

function logState(log: Log, { name, state }: Device): void {
  const reason = "reason" in state ? `: ${state.reason}` : "";
  const isBad = ["absent", "quarantined", "recovering"].includes(state.kind);
  log[isBad ? "warn" : "info"]({ device: name, state: state.kind }, `${name} is ${state.kind}${reason}`);
}

/** Power commands run like jobs: their whole process tree ends with them. */
function hostCommand(name: string, folder: string, { trees }: NodeContext): HostCommand {
  return async (script, signal, variables) => {
    const { runHost } = await import("#/runners/script/run.ts");
    let output = Buffer.alloc(0);
    const ending = await runHost({
      script,
      scriptFile: join(folder, "command"),
      cwd: folder,
      env: { ...baseEnvironment(), LABGEAR_DEVICE: name, ...variables },
      graceMs: 1000,
      limits: {},
      name: `device.${encodeURIComponent(name)}`,
      trees,
      owner: "operator",
      output: (chunk) => {
        output = Buffer.concat([output, chunk]).subarray(-maxOutputBytes);
      },
      signal,
    });
    return { code: ending.stopped ? null : (ending.code ?? 1), output: output.toString("utf8") };
  };
}

/** Of the last start, as a job may restart its board. @returns undefined unless the board came up and went on */
function bootTimeOf({ steps = [] }: BuildRecord): number | undefined {
  const at = steps.findLastIndex(({ name }) => name === "boot");
  const next = steps[at + 1]?.name;
  return next === undefined || next === "collect" ? undefined : steps[at]?.took;
}
