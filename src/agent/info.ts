/** What `info:` says of this agent: see exchange/info.ts. */
import type { JobConfig } from "#/config/model.ts";
import type { AgentInfo, JobInfo, NodeInfo } from "#/exchange/info.ts";
import type { Outage, Suspicion } from "#/lib/status.ts";
import { printable } from "#/lib/text.ts";
import { version } from "#/lib/version.ts";
import type { Agent } from "./agent.ts";
import type { Node } from "./nodes/node.ts";

/** @param hostname the box's */
export function agentInfo(agent: Agent, hostname: string): AgentInfo {
  const nodes = agent.nodes.all;
  const jobs = [...agent.config.jobs.values()];
  const executors = nodes.flatMap((node) => node.executors);
  return {
    ...{ version: 1, manager: agent.config.name, program: "labgear", programVersion: version, hostname },
    ...{ url: agent.url, state: agent.life, since: agent.since.toISOString(), time: Date.now() },
    nodes: nodes.map((node) => nodeInfo(agent, node)),
    jobs: jobs.map(jobInfo),
    counts: {
      ...{ nodes: nodes.length, jobs: jobs.length, executors: executors.length },
      running: executors.filter(({ idle }) => !idle).length,
      waiting: nodes.reduce((sum, { waiting }) => sum + waiting.length, 0),
    },
  };
}

function nodeInfo(agent: Agent, node: Node): NodeInfo {
  const device = agent.devices.find(node.name);
  const busy = node.executors.find(({ idle }) => !idle)?.state;
  const running = busy?.kind === "busy" ? busy.build : undefined;
  const lease = running && agent.leases.of(running)?.status;
  const outage = agent.devices.historyOf(node.name)?.outage;
  const tallies = agent.statistics.talliesOf(node.name);
  const [suspicion] = agent.statistics.suspicionsOf(node.name);
  const since = outage?.since ?? device?.history.at(-1)?.at;
  return {
    ...{ name: node.name, classes: node.labels, device: device !== undefined },
    ...stateOf(agent, node),
    ...(since !== undefined && { since }),
    ...(outage && { outage: outageInfo(outage) }),
    ...(tallies && { tallies }),
    ...(suspicion && { suspect: suspectInfo(suspicion) }),
    ...(running && { build: { name: running.record.job, number: running.record.number } }),
    ...(lease && { lease }),
  };
}

function outageInfo({ cause, tries, who }: Outage): NonNullable<NodeInfo["outage"]> {
  return { cause, tries, ...(who !== undefined && { who: printable(who) }) };
}

function suspectInfo({ p: _, ...suspicion }: Suspicion): NonNullable<NodeInfo["suspect"]> {
  return suspicion;
}

function stateOf(agent: Agent, node: Node): Pick<NodeInfo, "state" | "cause" | "reason"> {
  const [hold] = node.holds;
  if (hold) {
    const [cause, reason] = hold;
    const state = agent.devices.find(node.name)?.state.kind;
    // A device's own state says more than that it isn't ready.
    return { state: "held", cause: cause === "device" && state ? state : cause, reason };
  }
  const isFree = node.active.some(({ idle }) => idle);
  return { state: isFree ? "free" : "busy" };
}

function jobInfo({ name, nodes, trust, checkout, debug, timeoutMs, inputs }: JobConfig): JobInfo {
  return {
    ...{ name, trust, checkout, debug, timeoutSeconds: Math.round(timeoutMs / 1000) },
    ...(nodes && { nodes }),
    inputs: inputs.map((input) => ({
      ...{ name: input.name, max: input.maxBytes, optional: input.optional },
      url: input.from.length > 0,
    })),
  };
}
