/** One device of the box and its node, and what each of them hears of the other. */
import { join } from "node:path";
import { baseEnvironment } from "#/builds/environment.ts";
import type { Config, DeviceConfig, JobConfig } from "#/config/model.ts";
import { newConsole } from "#/devices/consoles/new-console.ts";
import { newTypingProfile } from "#/devices/consoles/typing.ts";
import { Device } from "#/devices/device.ts";
import type { Discovery } from "#/devices/discovery/discovery.ts";
import { HealthRecord } from "#/devices/health.ts";
import { Port } from "#/devices/port/port.ts";
import { type HostCommand, Power } from "#/devices/power.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import type { SystemCalls } from "#/host/syscalls.ts";
import type { Log } from "#/lib/log.ts";
import type { BoardsOptions } from "./devices.ts";
import type { NodeContext } from "./nodes/executor.ts";
import { Node } from "./nodes/node.ts";

export { Discovery } from "#/devices/discovery/discovery.ts";

export interface Board {
  readonly device: Device;
  readonly node: Node;
  /** The node follows the device from here on; before that it has to be among the others, for what holds all of them. */
  readonly begin: () => void;
}

/** How long a power command may take, in milliseconds. */
const commandTime = 30_000;
/** How much of what it prints is kept for a message, in bytes. */
const mostOutput = 4096;

export interface NewBoardOptions extends BoardsOptions {
  /** Its own; is there. */
  readonly folder: string;
  readonly discovery: Discovery;
  readonly calls: SystemCalls | undefined;
  readonly servers: readonly ServerAddress[];
}

/** The node is to be held, by being put among the others, in the same turn. */
export function newBoard(config: DeviceConfig, options: NewBoardOptions): Board {
  const { folder, discovery, calls, servers, context, state } = options;
  const { name } = config;
  const { log } = context;
  const profile = newTypingProfile();
  const port = new Port({ name, config: config.port, discovery, calls });
  const device = new Device({
    config,
    port,
    power: new Power(config, hostCommand(name, folder, context)),
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
    servers,
    context,
    executors: () => 1,
    jobs: () => offeredJobs(device, context.config()),
    device: name,
    reserve: async (request) => (await import("./nodes/run-device-build.ts")).reserveBoard(device, request),
  });
  const follow = () => {
    const { state, standing } = device;
    const reason = "reason" in state ? state.reason : "";
    if (standing === "offered" || standing === "health") node.release("device");
    else node.hold("device", reason ? `${state.kind}: ${reason}` : state.kind);
    node.offer();
  };
  device.on("changed", () => {
    follow();
    tell(log, device);
  });
  const begin = () => {
    follow();
    const paused = state.pausedNodes().get(name);
    if (paused === undefined) return;
    device.pause(paused);
    node.hold("paused", paused);
  };
  return { device, node, begin };
}

function tell(log: Log, { name, state }: Device): void {
  const reason = "reason" in state ? `: ${state.reason}` : "";
  const isBad = ["absent", "quarantined", "recovering"].includes(state.kind);
  log[isBad ? "warn" : "info"]({ device: name, state: state.kind }, `${name} is ${state.kind}${reason}`);
}

/** Power commands run as jobs do: their whole tree ends with them. */
function hostCommand(name: string, folder: string, { trees }: NodeContext): HostCommand {
  return async (script, signal) => {
    const { runHost } = await import("#/runners/script/run.ts");
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

/** What a device offers by its standing: jobs that name it or a class of its, no others. */
function offeredJobs({ standing, name, config }: Device, { jobs }: Config): JobConfig[] {
  if (standing === "withdrawn") return [];
  if (standing !== "health") return [...jobs.values()].filter((job) => job.nodes !== undefined);
  const job = jobs.get(config.health.job ?? "");
  return job ? [{ ...job, nodes: [name] }] : [];
}
