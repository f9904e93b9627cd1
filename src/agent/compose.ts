/** Builds every part of the agent and hands each what it needs: the map of the program. */
import { lstat, realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Build } from "#/builds/build.ts";
import { Mirrors } from "#/builds/checkout/mirrors.ts";
import { InputCache } from "#/builds/inputs/cache.ts";
import { secretsFolder } from "#/builds/secrets.ts";
import { BuildStore } from "#/builds/store.ts";
import { cachesIn, listCaches } from "#/builds/workspace/caches.ts";
import { helpWithOthers } from "#/builds/workspace/others.ts";
import { Scratch } from "#/builds/workspace/scratch.ts";
import { listWorkspaces } from "#/builds/workspace/workspace.ts";
import type { Config } from "#/config/model.ts";
import { ControlServer } from "#/control/server.ts";
import type { Helper } from "#/helper/client.ts";
import { buildAccounts } from "#/host/accounts.ts";
import { type HostFacts, hostFacts } from "#/host/identity.ts";
import { lockFolder } from "#/host/lock.ts";
import { type BuildCheck, newBuildCheck } from "#/host/peers.ts";
import { LabWatch } from "#/lab/watch.ts";
import type { Log } from "#/lib/log.ts";
import { version } from "#/lib/version.ts";
import { Strangers } from "#/runners/trees/remains.ts";
import { openTrees } from "#/runners/trees/trees.ts";
import { Agent, hostLabels } from "./agent.ts";
import { BoardStatistics } from "./board-statistics.ts";
import { WatchedBox } from "./box-health.ts";
import { controlRoutes } from "./control-routes.ts";
import { Devices } from "./devices.ts";
import { DiskSizes } from "./disk-sizes.ts";
import { Housekeeping } from "./housekeeping.ts";
import { agentInfo } from "./info.ts";
import { Exchange } from "./nodes/exchange.ts";
import type { NodeContext } from "./nodes/executor.ts";
import { Inputs } from "./nodes/inputs.ts";
import { JobReports } from "./nodes/job-report.ts";
import { transferFolder } from "./nodes/lease/files.ts";
import { Leases } from "./nodes/lease/leases.ts";
import { Manager } from "./nodes/manager.ts";
import { Node, Nodes } from "./nodes/node.ts";
import { SignsOfLife } from "./nodes/watchdogs.ts";
import { Outsiders } from "./outsiders.ts";
import { Pages } from "./pages.ts";
import { defaultServer, serverAddresses } from "./servers.ts";
import { openStore } from "./state-store.ts";
import { agentView } from "./status.ts";

export interface AgentOptions {
  /** Reads the configuration; called again for each reload. */
  readonly load: () => Promise<Config>;
  readonly stateDir: string;
  /** The control socket's file. */
  readonly control: string;
  readonly log: Log;
  /** Called again and again while the start takes long. */
  readonly onProgress?: () => void;
}

/**
 * Starts the agent; resolves when it listens and has begun to connect to its job servers. The nodes register at once, so that
 * queued builds wait for them, and are held until housekeeping has looked at the disk.
 * @throws the errors of the rooms, each with one line that says what keeps the agent from running
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const resources = new AsyncDisposableStack();
  try {
    return await compose(options, resources);
  } catch (error) {
    await resources.disposeAsync();
    throw error;
  }
}

/** @param resources what is to be ended, the last first: by the agent, or when the start fails */
async function compose(options: AgentOptions, resources: AsyncDisposableStack): Promise<Agent> {
  const { log } = options;
  const inForce = { config: await options.load() };
  const { config } = inForce;
  const currentConfig = () => inForce.config;

  resources.use(await lockFolder(options.stateDir));
  // By its real path, an agent finds what an earlier one left under another name of the folder.
  const stateDir = await realpath(options.stateDir);
  const state = await openStore(stateDir);
  resources.defer(() => state.settle());
  const trees = resources.use(await openTrees({ id: stateDir }));
  const { helper } = trees;
  helpWithOthers(helper);
  const mirrors = resources.use(
    new Mirrors(
      stateDir,
      (await buildAccounts()).map(({ uid }) => uid),
    ),
  );
  const scratch = resources.use(
    new Scratch(stateDir, (message) => log.warn({}, `it takes space and is left: ${message}`)),
  );
  const isBuild = await newBuildCheck(log);
  const pages = new Pages({ view: () => agentView(agent), isBuild, log });
  let isUp = false;
  const opened = await BuildStore.open({
    onProgress: () => isUp || options.onProgress?.(),
    folder: join(stateDir, "builds"),
    nextNumber: (job, floor) => state.nextBuildNumber(job, floor),
    url: (job, number) => `${pages.url(inForce.config.http)}/builds/${encodeURIComponent(job)}/${number}`,
  });
  const builds = opened.store;
  resources.defer(() => builds.saveIndex().catch((error: Error) => log.debug({}, error.message)));
  for (const warning of [...state.warnings, ...trees.warnings, ...opened.warnings]) log.warn({}, warning);
  for (const { job, number, uuid } of opened.lost) {
    log.warn({ job, number, uuid }, `${job}#${number} is lost: the agent ended while it ran`);
  }

  if (config.servers.length === 0) resources.use(await startEmbeddedServer(stateDir, log, isBuild));
  const servers = await serverAddresses(config);
  let host: HostFacts;
  const worker = () => ({ manager: config.name, version, ...host });
  const reports = new JobReports({ store: builds, config: currentConfig, worker, log });
  const nodes = resources.use(new Nodes());
  nodes.hold("disk", "the free space hasn't been checked yet");
  const boxHealth = new WatchedBox(stateDir, state, nodes, log);
  const takeOffline = (build: Build) => agent.takeOffline(build);
  const counts = { reconnects: 0 };
  const cache = await InputCache.open(join(stateDir, "inputs"), () => currentConfig().inputs.keepBytes);
  const inputs = new Inputs(cache, () => currentConfig().inputs, trees);
  const signs = new SignsOfLife((server) => exchange.worker.isRegistered(server));
  const context: NodeContext = {
    ...{ config: currentConfig, stateDir, trees, mirrors, scratch, boxHealth, inputs, signs },
    strangers: new Strangers(),
    ...{ store: builds, reports, counts, takeOffline, log },
  };
  const shared = { name: config.name, servers, store: builds, counts, log };
  const manager = resources.use(new Manager(shared));
  const info = () => agentInfo(agent, host.hostname);
  const leases = resources.use(
    new Leases({ name: config.name, findPort: (name) => devices.find(name)?.port, counts, log }),
  );
  const { twins } = manager;
  const exchange = resources.use(
    new Exchange({ ...shared, inputs, leases, signs, reports, twins, config: currentConfig, info }),
  );
  const hostNode = new Node({
    name: config.name,
    labels: await hostLabels(config),
    servers,
    context,
    executors: () => inForce.config.host.executors,
    jobs: () => [...inForce.config.jobs.values()].filter(({ work }) => work.kind === "run"),
  });
  const paused = state.pausedNodes().get(hostNode.name);
  if (paused !== undefined) hostNode.hold("paused", paused);
  nodes.add(hostNode);
  // Before anything of ours runs or opens a port.
  for (const { pid, command } of await trees.sweepStale()) {
    log.warn({ pid }, `killed process ${pid} (${command}), left by an earlier agent`);
  }
  if (helper) await takeBack(helper, stateDir).catch((error) => log.warn({}, error.message));
  scratch.sweep();
  host = await hostFacts();
  await rm(transferFolder(stateDir), { recursive: true, force: true });
  await rm(secretsFolder(stateDir), { recursive: true, force: true });
  const devices: Devices = resources.use(new Devices({ nodes, context, leases, state }));
  await devices.prepare(config);
  devices.apply(config, servers);

  const lab = resources.use(new LabWatch(servers));
  const sizes = resources.use(new DiskSizes(stateDir, builds));
  const statistics = resources.use(new BoardStatistics(config.name, devices, lab, log));
  const outsiders = helper && new Outsiders(helper, log);
  const housekeeping = resources.use(
    new Housekeeping({
      ...{ config: currentConfig, stateDir, builds, mirrors, inputs: cache },
      ...{ nodes, boxHealth, outsiders, log },
    }),
  );
  const agent = new Agent({
    ...{ load: options.load, inForce, stateDir, state, builds, reports, counts, log },
    enforced: trees.enforced,
    ...{
      host: hostNode,
      nodes,
      devices,
      manager,
      exchange,
      leases,
      pages,
      lab,
      statistics,
      sizes,
      resources,
    },
  });
  resources.use(await ControlServer.listen(options.control, controlRoutes(agent), log));
  await housekeeping.round();
  isUp = true;
  void housekeeping.sweep();
  resources.use(pages);
  await pages.serve(config.http);
  const functions = nodes.all.flatMap((node) => [...node.functions]);
  log.info({ manager: config.name, functions }, `labgear ${version} is up`);
  return agent;
}

/**
 * Takes workspaces and caches from builds that an earlier agent didn't see end.
 * @throws HelperError, or the system's error, when some couldn't be taken; the others are
 * @internal
 */
export async function takeBack(helper: Pick<Helper, "take">, stateDir: string): Promise<void> {
  const folders = (await listWorkspaces(stateDir)).map(({ folder }) => folder);
  for (const { folder } of await listCaches(stateDir)) folders.push(...(await cachesIn(folder)));
  let failure: unknown;
  for (const folder of folders) {
    try {
      if ((await lstat(folder)).uid !== process.getuid?.()) await helper.take([folder]);
    } catch (error) {
      // One that a container left to root must not cost the builds the others.
      failure ??= error;
    }
  }
  if (failure) throw failure;
}

/**
 * Starts a job server where clients look for one.
 * @returns undefined when another one listens there already, which is then used
 * @throws the system's error
 */
async function startEmbeddedServer(
  stateDir: string,
  log: Log,
  refuses: BuildCheck,
): Promise<AsyncDisposable | undefined> {
  const { host, port } = defaultServer;
  // Most boxes have job servers configured, and never load this.
  const { JobServer } = await import("#/gearman/server/server.ts");
  const server = new JobServer({
    software: `labgear ${version}`,
    refuses,
    journal: join(stateDir, "queue"),
    log: ({ kind, address, message }) =>
      log[kind === "restored" ? "info" : "warn"]({ kind, address }, `embedded job server: ${message}`),
  });
  try {
    await server.listen({ host, port });
    log.info({}, `no job server is configured: an embedded one listens on ${host}:${port}`);
    return server;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    log.info({}, `no job server is configured: the one that listens on ${host}:${port} is used`);
    return undefined;
  }
}
