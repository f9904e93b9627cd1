/** Puts all rooms together: the parts of an agent, each handed what it needs. */
import { realpath } from "node:fs/promises";
import { join } from "node:path";
import type { Build } from "#/builds/build.ts";
import { BuildStore } from "#/builds/store.ts";
import type { Config, JobConfig } from "#/config/model.ts";
import { hardwareClasses } from "#/host/hardware.ts";
import { boxFailure, tryFolder } from "#/host/health.ts";
import { lockFolder } from "#/host/lock.ts";
import { type HostFacts, hostFacts } from "#/host/network.ts";
import type { Log } from "#/lib/log.ts";
import { version } from "#/lib/version.ts";
import { openTrees } from "#/runners/trees/trees.ts";
import { Boards } from "./devices.ts";
import type { NodeContext } from "./nodes/context.ts";
import { Manager } from "./nodes/manager.ts";
import { Node } from "./nodes/node.ts";
import { Nodes } from "./nodes/nodes.ts";
import { Reports } from "./nodes/reports.ts";
import { Pages } from "./pages.ts";
import { serverAddresses } from "./servers.ts";
import { openStore, type StateStore } from "./state-store.ts";

export interface AssemblyOptions {
  readonly load: () => Promise<Config>;
  readonly stateDir: string;
  readonly log: Log;
  /** A build ended whose parameters ask to take its node out of service. */
  readonly onOffline: (build: Build) => void;
}

export interface Parts {
  /** Its real path. */
  readonly stateDir: string;
  readonly inForce: { config: Config };
  readonly state: StateStore;
  readonly builds: BuildStore;
  readonly reports: Reports;
  readonly host: Node;
  readonly nodes: Nodes;
  readonly boards: Boards;
  readonly manager: Manager;
  readonly pages: Pages;
  /** All that has to be ended, the last first. */
  readonly resources: AsyncDisposableStack;
}

/**
 * Nothing is taken from a job server yet: the nodes are held until housekeeping has looked at the disk. They register all
 * the same, so that what is queued waits for them; so what takes time and isn't needed for that is done meanwhile.
 * @throws the errors of the rooms, each with one line that says what keeps it from running
 */
export async function assemble(options: AssemblyOptions): Promise<Parts> {
  const { log, onOffline } = options;
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
  if (config.servers.length === 0) {
    const { startEmbedded } = await import("./embedded.ts");
    resources.use(await startEmbedded(log));
  }
  const servers = await serverAddresses(config);
  let host: HostFacts;
  const reports = new Reports({
    store: opened.store,
    config: () => inForce.config,
    worker: () => ({ manager: config.name, version, ...host }),
    log,
  });
  const nodes = resources.use(new Nodes());
  nodes.hold("disk", "the free space wasn't looked at yet");
  const context: NodeContext = {
    config: () => inForce.config,
    store: opened.store,
    reports,
    stateDir,
    trees,
    log,
    tryBox: () => tryFolder(stateDir, false),
    troubleOf: boxFailure,
    onTrouble: (reason) => nodes.hold("trouble", reason),
  };
  const manager = resources.use(new Manager({ name: config.name, servers, store: opened.store, log }));
  const node = new Node({
    name: config.name,
    labels: await resolveClasses(config),
    servers,
    context,
    executors: () => inForce.config.host.executors,
    jobs: () => hostJobs(inForce.config),
    // What carries out builds is loaded by the first one.
    carryOut: async (...build) => (await import("./nodes/host-build.ts")).onHost(context)(...build),
    onOffline,
  });
  const paused = state.pausedNodes().get(node.name);
  if (paused !== undefined) node.hold("paused", paused);
  nodes.add(node);
  // Before anything of ours runs or opens a port.
  for (const { pid, command } of await trees.sweepStale()) {
    log.warn({ pid }, `killed process ${pid} (${command}), left by an earlier agent`);
  }
  host = await hostFacts();
  const boards = resources.use(new Boards({ nodes, context, state, onOffline }));
  await boards.apply(config, servers);
  return {
    stateDir,
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
}

/** The classes of the host, with `auto` replaced by what the hardware says it is. */
export async function resolveClasses(config: Config): Promise<string[]> {
  const { classes } = config.host;
  const auto = classes.includes("auto") ? await hardwareClasses() : [];
  return [...new Set(classes.flatMap((name) => (name === "auto" ? auto : [name])))];
}

/** The jobs that the host can run: all that are a script for it. */
function hostJobs({ jobs }: Config): JobConfig[] {
  return [...jobs.values()].filter(({ work }) => work.kind === "run");
}
