/** The state of the agent as the control socket tells it, and `labgear status` prints it. */

import type { Build, BuildState } from "#/builds/build.ts";
import type { PortConfig } from "#/config/model.ts";
import type { Device } from "#/devices/device.ts";
import type { DeviceState, StateEntry } from "#/devices/state.ts";
import { version } from "#/lib/version.ts";
import type { Agent, AgentState } from "./agent.ts";
import type { Executor } from "./nodes/executor.ts";
import type { Node } from "./nodes/node.ts";

export interface AgentStatus {
  readonly name: string;
  readonly version: string;
  readonly pid: number;
  readonly since: string;
  readonly state: AgentState;
  readonly files: readonly string[];
  readonly servers: readonly ServerStatus[];
  readonly nodes: readonly NodeStatus[];
}

/** The manager's line to one job server stands for all of the box. */
export interface ServerStatus {
  readonly server: string;
  readonly state: string;
  readonly status: string;
}

export interface NodeStatus {
  readonly name: string;
  readonly classes: readonly string[];
  readonly state: "ready" | "held";
  /** Why it takes no builds. */
  readonly reasons: readonly string[];
  readonly functions: readonly string[];
  readonly executors: readonly ExecutorStatus[];
}

/** A device as `labgear devices` and the pages show it. */
export interface DeviceStatus {
  readonly name: string;
  readonly classes: readonly string[];
  readonly console: string;
  /** As configured. */
  readonly port: string;
  /** The device file or address at this moment; absent: it isn't there. */
  readonly path?: string;
  readonly state: DeviceState["kind"];
  readonly reason?: string;
  /** Who has it. */
  readonly who?: string;
  /** When it came to this state. */
  readonly since: string;
  /** Infrastructure failures in a row. */
  readonly failures: number;
  readonly history: readonly StateEntry[];
  readonly counters: {
    readonly received: number;
    readonly sent: number;
    readonly errors: number;
    readonly lost: number;
  };
}

export interface ExecutorStatus {
  readonly index: number;
  readonly build?: BuildStatus;
}

export interface BuildStatus {
  readonly job: string;
  readonly number: number;
  readonly uuid: string;
  readonly phase: BuildState["phase"];
  /** Percent. */
  readonly progress: number;
  readonly assigned: string;
}

export function agentStatus(agent: Agent): AgentStatus {
  return {
    name: agent.config.name,
    version,
    pid: process.pid,
    since: agent.since.toISOString(),
    state: agent.life,
    files: agent.config.files,
    servers: agent.manager.worker.links.map(({ server, state, status }) => ({ server, state, status })),
    nodes: agent.nodes.all.map(nodeStatus),
  };
}

function nodeStatus(node: Node): NodeStatus {
  return {
    name: node.name,
    classes: node.labels,
    state: node.holds.size > 0 ? "held" : "ready",
    reasons: [...node.holds].map(([hold, reason]) => `${hold}: ${reason}`),
    functions: [...node.functions],
    executors: node.executors.map(executorStatus),
  };
}

export function deviceStatus(device: Device): DeviceStatus {
  const { name, config, state, history, health, port } = device;
  const { received, sent, errors, lost } = port.counters;
  return {
    name,
    classes: config.classes,
    console: config.console,
    port: portText(config.port),
    ...(port.path !== undefined && { path: port.path }),
    state: state.kind,
    ...("reason" in state && { reason: state.reason }),
    ...("who" in state && { who: state.who }),
    since: history.at(-1)?.at ?? new Date().toISOString(),
    failures: health.failures,
    history,
    counters: { received, sent, errors, lost },
  };
}

/** A port as the configuration has it, on one line. */
function portText({ address, baud }: PortConfig): string {
  if (address.kind !== "tty") return `${address.kind}://${address.host}:${address.port}`;
  const criteria = Object.entries(address.match).map(([key, value]) => `${key} ${value}`);
  return `${criteria.join(", ")} at ${baud}`;
}

function executorStatus({ index, state }: Executor): ExecutorStatus {
  return state.kind === "busy" ? { index, build: buildStatus(state.build) } : { index };
}

function buildStatus({ record, state, progress }: Build): BuildStatus {
  const { job, number, uuid, assigned } = record;
  return { job, number, uuid, phase: state.phase, progress, assigned };
}
