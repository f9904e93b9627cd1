/** The agent's own control group, with one below it for each build; in the end all are removed. */
import { randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { HostError } from "#/host/errors.ts";
import type { FoundProcess } from "#/host/proc.ts";
import { reason } from "#/lib/errors.ts";
import { Cgroup, type CgroupHome, readWords, type SignalGroup, subgroups } from "./cgroup.ts";

/** The controllers that a build's limits need. */
const wanted = ["cpu", "memory", "pids"] as const;

export type Controller = (typeof wanted)[number];

/**
 *     HOME                      the group we were started in
 *       labgear-ID              delegates controllers to the builds' groups
 *         main                  the agent itself, if it had to leave HOME to enable controllers there:
 *                               a group that has processes can't delegate controllers
 *         BUILD-1f2e3d4c        a build
 */
export class CgroupBase implements AsyncDisposable {
  readonly directory: string;
  /** The controllers that work in the builds' groups. */
  readonly enforced: ReadonlySet<Controller>;
  /** For the other controllers the reason. */
  readonly lacking: ReadonlyMap<Controller, string>;
  readonly #home: CgroupHome;
  readonly #signalGroup: SignalGroup | undefined;
  readonly #enabledAtHome: readonly Controller[];
  /** Groups of builds that have ended and couldn't be removed. */
  readonly #left = new Set<Cgroup>();

  private constructor(
    home: CgroupHome,
    directory: string,
    found: { enforced: Set<Controller>; lacking: Map<Controller, string>; enabledAtHome: Controller[] },
    signalGroup: SignalGroup | undefined,
  ) {
    this.#home = home;
    this.#signalGroup = signalGroup;
    this.directory = directory;
    this.enforced = found.enforced;
    this.lacking = found.lacking;
    this.#enabledAtHome = found.enabledAtHome;
  }

  /**
   * Creates the agent's group, or takes over an old one.
   *
   * @param id unique on the box and the same at each start, to find what a killed agent left; letters, digits, "_", "." and
   *   "-", 64 at most
   * @param signalGroup for builds of other users; absent: they are this process's own
   * @throws HostError CGROUP when the kernel refuses, BUSY when another living agent has this id
   */
  static async open(home: CgroupHome, id: string, signalGroup?: SignalGroup): Promise<CgroupBase> {
    const directory = `${home.directory}/${groupName(id)}`;
    try {
      await mkdir(directory, { recursive: true });
      await refuseOtherAgent(directory);
      const found = await delegateControllers(home, directory);
      return new CgroupBase(home, directory, found, signalGroup);
    } catch (error) {
      if (error instanceof HostError) throw error;
      throw new HostError("CGROUP", `the control group ${directory} can't be created: ${reason(error)}`, {
        cause: error,
      });
    }
  }

  /** A new group for a build. */
  async create(name: string): Promise<Cgroup> {
    const clean = name.replace(/[^A-Za-z0-9._-]/g, "_").slice(0, 100);
    const directory = `${this.directory}/build-${clean}-${randomBytes(4).toString("hex")}`;
    try {
      await mkdir(directory);
    } catch (error) {
      throw new HostError("CGROUP", `the control group ${directory} can't be created: ${reason(error)}`, {
        cause: error,
      });
    }
    return new Cgroup(directory, this.#signalGroup);
  }

  /** Kills what lives in a build's group and removes it. What fails, as without file descriptors, is tried again later. */
  async discard(group: Cgroup): Promise<void> {
    this.#left.add(group);
    await group.kill().catch(() => {});
    for (const one of [...this.#left]) {
      // Processes that nothing ends hold no other build up.
      if (one !== group) await one.set("cgroup.kill", "1");
      if ((await one.remove()) === undefined) this.#left.delete(one);
    }
  }

  /**
   * Kills and removes what an earlier agent with this id left, here or in the group that it was started in.
   * Call it before the first build. Returns the processes that were found.
   */
  async sweepStale(): Promise<FoundProcess[]> {
    const found: FoundProcess[] = [];
    for (const base of await findGroups(this.#home.mount, basename(this.directory))) {
      await refuseOtherAgent(base);
      for (const directory of subgroups(base)) {
        if (basename(directory) === "main") continue;
        const group = new Cgroup(directory, this.#signalGroup);
        found.push(...(await group.processes()));
        await group.kill();
        await group.remove();
      }
      if (base !== this.directory) await new Cgroup(base).remove();
    }
    return found;
  }

  /** Kills every build's group, moves the agent back to where it was started, and removes all that was created. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const directory of subgroups(this.directory)) {
      if (basename(directory) !== "main") await new Cgroup(directory, this.#signalGroup).kill();
    }
    const base = new Cgroup(this.directory);
    for (const controller of this.enforced) await base.set("cgroup.subtree_control", `-${controller}`);
    for (const controller of this.#enabledAtHome) {
      await new Cgroup(this.#home.directory).set("cgroup.subtree_control", `-${controller}`);
    }
    const main = await readPids(`${this.directory}/main`);
    if (main.includes(process.pid))
      await new Cgroup(this.#home.directory).set("cgroup.procs", String(process.pid));
    await base.remove();
  }
}

/** Enables the wanted controllers in our home and in the base below it, as far as the kernel lets us. */
async function delegateControllers(home: CgroupHome, directory: string) {
  const lacking = new Map<Controller, string>();
  const enabledAtHome: Controller[] = [];
  const enforced = new Set<Controller>();
  const offered = wanted.filter((one) => home.controllers.includes(one));
  const enabled = await readWords(`${home.directory}/cgroup.subtree_control`);
  const missing = offered.filter((one) => !enabled.includes(one));
  for (const one of wanted) {
    if (!offered.includes(one))
      lacking.set(one, `the ${one} controller isn't available in ${home.directory}`);
  }
  if (missing.length > 0) await leaveHome(home, directory);
  for (const one of missing) {
    const refused = await new Cgroup(home.directory).set("cgroup.subtree_control", `+${one}`);
    if (!refused) enabledAtHome.push(one);
    else if (refused === "EBUSY")
      lacking.set(one, `other processes share the control group ${home.directory}`);
    else lacking.set(one, `the ${one} controller can't be enabled in ${home.directory} (${refused})`);
  }
  for (const one of offered.filter((each) => !lacking.has(each))) {
    const refused = await new Cgroup(directory).set("cgroup.subtree_control", `+${one}`);
    if (refused) lacking.set(one, `the ${one} controller can't be enabled in ${directory} (${refused})`);
    else enforced.add(one);
  }
  return { enforced, lacking, enabledAtHome };
}

/** Moves this process into the leaf, unless it shares its group with others, such as a login shell: we don't move those. */
async function leaveHome(home: CgroupHome, directory: string): Promise<void> {
  const isRoot = (await readFile(`${home.directory}/cgroup.type`).catch(() => undefined)) === undefined;
  const alone = (await readPids(home.directory)).every((pid) => pid === process.pid);
  if (isRoot || !alone) return;
  await mkdir(`${directory}/main`, { recursive: true });
  await writeFile(`${directory}/main/cgroup.procs`, String(process.pid));
}

async function refuseOtherAgent(base: string): Promise<void> {
  const other = (await readPids(`${base}/main`)).find((pid) => pid !== process.pid);
  if (other === undefined) return;
  throw new HostError(
    "BUSY",
    `process ${other} in ${base}/main is another agent with this state directory: stop it first`,
  );
}

async function readPids(directory: string): Promise<number[]> {
  const text = await readFile(`${directory}/cgroup.procs`, "utf8").catch(() => "");
  return text
    .split("\n")
    .map(Number)
    .filter((pid) => pid > 0);
}

/** Every group of that name, among 10 000 groups at most. */
async function findGroups(mount: string, name: string): Promise<string[]> {
  const found: string[] = [];
  const queue = [mount];
  for (let looked = 0; looked < 10_000; looked++) {
    const directory = queue.shift();
    if (directory === undefined) break;
    if (basename(directory) === name) found.push(directory);
    else queue.push(...subgroups(directory));
  }
  return found;
}

function groupName(id: string): string {
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(id)) throw new TypeError(`"${id}" can't name a control group`);
  return `labgear-${id}`;
}
