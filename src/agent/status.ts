/** The agent's state for the control socket and the pages. */
import type { Build } from "#/builds/build.ts";
import type { PortConfig } from "#/config/model.ts";
import type { Device } from "#/devices/device.ts";
import { freeInodes, freeSpace } from "#/host/health.ts";
import type {
  AgentStatus,
  BuildStatus,
  DeviceStatus,
  ExecutorStatus,
  NodeStatus,
  Outage,
  ServerStatus,
} from "#/lib/status.ts";
import { version } from "#/lib/version.ts";
import { type AgentView, isConnected } from "#/web/agent-view.ts";
import type { Agent } from "./agent.ts";
import type { Executor } from "./nodes/executor.ts";
import type { Leases } from "./nodes/lease/leases.ts";
import type { Node } from "./nodes/node.ts";

export function agentStatus(agent: Agent): AgentStatus {
  return {
    name: agent.config.name,
    version,
    pid: process.pid,
    since: agent.since.toISOString(),
    state: agent.life,
    files: agent.config.files,
    servers: serverStatuses(agent),
    nodes: [...agent.nodes.all, ...agent.nodes.leaving].map((node) => nodeStatus(agent, node)),
  };
}

/** From the worst. */
const linkStates = [
  "closed",
  "waiting",
  "connecting",
  "registering",
  "awake",
  "asleep",
  "grabbing",
  "working",
];

function serverStatuses({ manager, exchange, leases, nodes }: Agent): ServerStatus[] {
  const workers = [manager, exchange, leases, ...nodes.all.flatMap((node) => node.active)].map(
    ({ worker }) => worker,
  );
  const links = Map.groupBy(
    workers.flatMap((worker) => worker.links),
    ({ server }) => server,
  );
  return [...links].map(([server, all]) => {
    const [worst] = all.toSorted((a, b) => linkStates.indexOf(a.state) - linkStates.indexOf(b.state));
    const { state = "closed", status = "" } = worst ?? {};
    const registered = all.filter((link) => isConnected(link)).length;
    const total = all.length;
    const connections = total === 1 ? "1 connection" : `${total} connections`;
    const text =
      registered < total
        ? `${registered} of ${connections} registered; the worst is ${status}`
        : `${connections} registered`;
    const shared = manager.twins.isAt(server);
    const line = shared ? `${text}; another agent seems to have the name of this one` : text;
    return {
      ...{ server, state, status: line, connections: { registered, total } },
      ...(shared && { sharedName: true as const }),
    };
  });
}

function nodeStatus({ devices, leases }: Agent, node: Node): NodeStatus {
  const outage = devices.historyOf(node.name)?.outage;
  return {
    name: node.name,
    classes: node.labels,
    state: node.holds.size > 0 ? "held" : "ready",
    reasons: [...node.holds].map(([hold, reason]) => `${hold}: ${reason}`),
    ...(outage && { outage }),
    functions: [...node.functions],
    executors: node.executors.map((executor) => executorStatus(executor, leases)),
    waiting: node.waiting.map((build) => buildStatus(build, leases)),
  };
}

export function deviceStatuses({ devices, statistics }: Agent): DeviceStatus[] {
  return devices.all.map((device) => {
    const suspect = statistics.suspicionsOf(device.name);
    const status = deviceStatus(device, devices.historyOf(device.name)?.outage);
    return { ...status, ...(suspect.length > 0 && { suspect }) };
  });
}

/** @param outage of the board, if it takes no builds */
function deviceStatus(device: Device, outage: Outage | undefined): DeviceStatus {
  const { name, config, state, history, health, port } = device;
  const { received, sent, errors, lost, losses } = port.counters;
  return {
    name,
    classes: config.classes,
    console: config.console,
    port: portText(config.port),
    ...(port.path !== undefined && { path: port.path }),
    state: state.kind,
    ...("reason" in state && { reason: state.reason }),
    ...("who" in state && { who: state.who }),
    since: outage?.since ?? history.at(-1)?.at ?? new Date().toISOString(),
    ...(outage && { outage }),
    failures: health.failures,
    history,
    counters: { received, sent, errors, lost, losses },
  };
}

/** A port as the configuration has it, on one line. */
function portText({ address, baud }: PortConfig): string {
  if (address.kind !== "tty") return `${address.kind}://${address.host}:${address.port}`;
  const criteria = Object.entries(address.match).map(([key, value]) => `${key} ${value}`);
  return `${criteria.join(", ")} at ${baud}`;
}

function executorStatus({ index, state }: Executor, leases: Leases): ExecutorStatus {
  if (state.kind === "busy") return { index, build: buildStatus(state.build, leases) };
  return state.kind === "blocked" ? { index, blockedBy: state.survivors.map(({ pid }) => pid) } : { index };
}

function buildStatus(build: Build, leases: Leases): BuildStatus {
  const { record, state, progress } = build;
  const { job, number, uuid, assigned } = record;
  const lease = leases.of(build)?.status;
  return { job, number, uuid, phase: state.phase, progress, assigned, ...(lease && { lease }) };
}

/** The agent as the pages see it. */
export function agentView(agent: Agent): AgentView {
  return {
    builds: agent.builds,
    status: () => agentStatus(agent),
    devices: () => deviceStatuses(agent),
    feed: (name) => {
      const device = agent.devices.find(name);
      if (!device) return undefined;
      const { port } = device;
      return {
        start: port.ring.start,
        end: port.ring.end,
        buildFrom: device.state.kind === "busy" ? device.reservedFrom : undefined,
        follow: (from, signal) => port.follow(from, signal),
      };
    },
    history: async (name, sinceMs) => (await agent.devices.historyOf(name)?.read(sinceMs)) ?? [],
    jobs: () =>
      [...agent.config.jobs.values()].map(({ name, work, nodes }) => ({
        ...{ name, kind: work.kind },
        ...(nodes && { nodes }),
      })),
    boardRecord: (device, job) => agent.statistics.recordOf(device, job),
    flaky: () => agent.statistics.flaky,
    lab: () => agent.lab.look(),
    labNow: () => agent.lab.current,
    links: () => agent.config.links,
    counts: () => agent.counts,
    lastReload: () => agent.lastReload,
    enforced: () => agent.enforced,
    sizes: () => agent.sizes.bytes,
    disk: async () => ({
      freeBytes: await freeSpace(agent.stateDir).catch(() => undefined),
      minFreeBytes: agent.config.builds.minFreeBytes,
      freeInodes: (await freeInodes(agent.stateDir).catch(() => undefined))?.free,
    }),
  };
}
