/** Keeps `min-free` free on the disk of the state directory: holds the nodes below it, and makes room. */
import type { Build } from "#/builds/build.ts";
import type { Mirrors } from "#/builds/checkout/mirrors.ts";
import type { InputCache } from "#/builds/inputs/cache.ts";
import type { BuildSummary } from "#/builds/record.ts";
import type { BuildStore } from "#/builds/store.ts";
import { listCaches, listCachesAside } from "#/builds/workspace/caches.ts";
import { type DiskUsage, diskUsage, dispensable } from "#/builds/workspace/disk-usage.ts";
import { removeTree } from "#/builds/workspace/remove.ts";
import { scratchOf } from "#/builds/workspace/scratch.ts";
import {
  listAside,
  listWorkspaces,
  removeWorkspace,
  type Workspace,
  workspaceOf,
} from "#/builds/workspace/workspace.ts";
import type { Config } from "#/config/model.ts";
import { freeInodes, freeSpace, minFreeInodes } from "#/host/health.ts";
import type { Log } from "#/lib/log.ts";
import { formatSize } from "#/lib/units.ts";
import type { Nodes } from "./nodes/node.ts";

export interface DiskSpaceOptions {
  readonly config: () => Config;
  readonly stateDir: string;
  readonly builds: BuildStore;
  readonly mirrors: Mirrors;
  readonly inputs: InputCache;
  readonly nodes: Nodes;
  readonly log: Log;
}

/** How often running builds are measured while something else fills the disk: a walk through large workspaces takes long. */
const measureIntervalMs = 5000;

/** How long one walk may take: the disk fills up meanwhile. */
const maxMeasureMs = 20_000;

/**
 *     enough ──below min-free──▶ short: no build is taken, what is old goes ──below half of it──▶ the largest build is stopped
 *        ▲──────────────────────────┴──────────────────────────────────────────────────────────────┘
 */
export class DiskSpace {
  readonly #options: DiskSpaceOptions;
  #state: "unknown" | "enough" | "short" = "unknown";
  /** Builds that were stopped because they took too much, until their workspaces are removed. */
  readonly #overfull = new Set<Build>();
  /** When builds may be measured again, by performance.now(). */
  #nextMeasure = 0;

  /** What couldn't be removed, each logged once. */
  readonly #left = new Set<string>();

  constructor(options: DiskSpaceOptions) {
    this.#options = options;
  }

  /** One look at the disk, and what follows from it. */
  async look(): Promise<void> {
    const { stateDir, nodes, log } = this.#options;
    let short = await this.#short();
    if (short) {
      // Before anything else: to make room may take long.
      nodes.hold("disk", shortage(short, stateDir));
      const waits = short.free < short.min / 2 && (await this.#stopLargest(short));
      if (!waits) await this.#makeRoom(short.unit);
      short = await this.#short();
    }
    if (!short) {
      if (this.#state === "short") log.info({}, "there is room again: builds are taken");
      this.#state = "enough";
      nodes.release("disk");
      return;
    }
    const { free, min } = short;
    const reason = shortage(short, stateDir);
    if (this.#state !== "short") log.warn({ free, minFree: min }, `no build is taken: ${reason}`);
    this.#state = "short";
    nodes.hold("disk", reason);
  }

  /**
   * Stops the running build that takes most, before the disk is full for all. Nobody knows whether it is at fault, so this is an
   * infrastructure ending: Zuul runs it again, perhaps on a box with more space. When all builds together take less than
   * what is short, something else fills the disk, and they go on.
   * @returns whether a build is being stopped, which will make room
   */
  async #stopLargest({ unit, free, min }: Shortage): Promise<boolean> {
    const { builds, stateDir, log } = this.#options;
    const { running } = builds;
    if (running.some(({ state }) => state.phase === "stopping")) return true;
    if (running.length === 0 || performance.now() < this.#nextMeasure) return false;
    const time = AbortSignal.timeout(maxMeasureMs);
    const sized = await Promise.all(
      running.map(async (build) => {
        const workspace = workspaceOf(stateDir, build.record);
        const folders = [workspace.folder, build.folder, scratchOf(stateDir, build.record)];
        let size = 0;
        for (const folder of folders) size += (await diskUsage(folder, time))[unit];
        return { build, size };
      }),
    );
    this.#nextMeasure = performance.now() + measureIntervalMs;
    const total = sized.reduce((sum, { size }) => sum + size, 0);
    const [largest] = sized.sort((a, b) => b.size - a.size);
    // Measured in part, the builds may well take what is short.
    if (!largest || (!time.aborted && free + total < min / 2)) return false;
    const { build, size } = largest;
    const { job, number, uuid } = build.record;
    const reason = `the disk is nearly full, and of the running builds it takes most: ${unit === "bytes" ? formatSize(size) : `${size} inodes`}`;
    if (!build.stop({ kind: "infrastructure", reason })) return false;
    this.#overfull.add(build);
    log.warn({ job, number, uuid, free, size }, `${build.title} is stopped: ${reason}`);
    return true;
  }

  /**
   * Removes first what the builds that were stopped for their size have left, then old builds, then what clients sent, and unused
   * caches, workspaces and mirrors: without those, later builds are only slower. What can't be removed is left, and the next one goes.
   */
  async #makeRoom(unit: keyof DiskUsage): Promise<void> {
    const { stateDir } = this.#options;
    for (const build of this.#overfull) {
      if (build.state.phase !== "ended") continue;
      await this.#attempt(() => this.#removeUnused("workspace", workspaceOf(stateDir, build.record)));
      this.#overfull.delete(build);
    }
    for (const remove of await this.#dispensable(unit)) {
      if (!(await this.#short())) return;
      await this.#attempt(remove);
    }
  }

  async #dispensable(unit: keyof DiskUsage): Promise<(() => Promise<void>)[]> {
    const { builds, mirrors, inputs, stateDir, log } = this.#options;
    const removeBuild = async (build: BuildSummary) => {
      const { job, number } = build;
      await builds.remove(build);
      log.info({ job, number }, `${job}#${number} is removed to make room`);
    };
    const removeMirror = async (mirror: string) => {
      if (await mirrors.remove(mirror))
        log.info({ mirror }, "a mirror of a repository is removed to make room");
    };
    const [workspaces, unused] = [await listWorkspaces(stateDir), await mirrors.unused()];
    const jobCaches = await listCaches(stateDir);
    const oldBuilds = dispensable(builds.finished()).map((build) => () => removeBuild(build));
    const caches = [
      ...inputs.unused.map((digest) => () => inputs.remove(digest)),
      ...jobCaches.map((cache) => () => this.#removeUnused("caches", cache)),
      ...workspaces.map((workspace) => () => this.#removeUnused("workspace", workspace)),
      ...unused.map((mirror) => () => removeMirror(mirror)),
    ];
    // Records have few files.
    return unit === "inodes" ? [...caches, ...oldBuilds] : [...oldBuilds, ...caches];
  }

  /** Removes what could only be moved aside, such as workspaces in which a container left another user's files. */
  async sweep(): Promise<void> {
    const { stateDir } = this.#options;
    for (const aside of [...(await listAside(stateDir)), ...(await listCachesAside(stateDir))])
      await this.#attempt(() => removeTree(aside));
  }

  async #attempt(remove: () => Promise<void>): Promise<void> {
    try {
      await remove();
    } catch (error) {
      const { message } = error as Error;
      if (this.#left.has(message)) return;
      this.#left.add(message);
      this.#options.log.warn({}, `it takes space and is left: ${message}`);
    }
  }

  async #removeUnused(what: "workspace" | "caches", place: Workspace): Promise<void> {
    const { builds, stateDir, log } = this.#options;
    const { executor, job } = place;
    const isUsed = () =>
      builds.running.some(({ record }) => {
        const used = workspaceOf(stateDir, record);
        return used.executor === executor && used.job === job;
      });
    const verb = what === "caches" ? "are" : "is";
    if (await removeWorkspace(place, isUsed))
      log.info({ executor, job }, `the ${what} of ${job} ${verb} removed to make room`);
  }

  /** What there is too little of. A file system that gives no answer counts as full. */
  async #short(): Promise<Shortage | undefined> {
    const { config, stateDir } = this.#options;
    const min = config().builds.minFreeBytes;
    const free = await freeSpace(stateDir).catch(() => 0);
    if (free < min) return { unit: "bytes", free, min };
    const inodes = min > 0 ? await freeInodes(stateDir).catch(() => undefined) : undefined;
    if (!inodes) return undefined;
    const few = { unit: "inodes", free: inodes.free, min: minFreeInodes(inodes.total) } as const;
    return few.free < few.min ? few : undefined;
  }
}

/** Each file takes an inode, however small it is. */
interface Shortage {
  readonly unit: keyof DiskUsage;
  readonly free: number;
  readonly min: number;
}

function shortage({ unit, free, min }: Shortage, stateDir: string): string {
  if (unit === "inodes") return `${free} inodes free at ${stateDir}, and at least ${min} are needed`;
  return `${formatSize(free)} free at ${stateDir}, and min-free is ${formatSize(min)}`;
}
