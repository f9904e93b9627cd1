/** Process trees in control groups: no process escapes, whatever it does to its session or environment. */
import type { Helper } from "#/helper/client.ts";
import { HelperError } from "#/helper/protocol.ts";
import type { FoundProcess } from "#/host/proc.ts";
import { RunnerError } from "../errors.ts";
import type { Cgroup } from "./cgroup.ts";
import type { CgroupBase, Controller } from "./cgroup-base.ts";
import {
  type ApartCommand,
  type Killed,
  type Launch,
  type Limits,
  launcher,
  type ProcessTree,
  type ProcessTrees,
  type Started,
  type TreeOwner,
} from "./tree.ts";
import type { BuildUser, BuildUsers } from "./users.ts";

/** What starts builds as root; the second for jobs with debug: true. */
interface Helpers {
  readonly normal: Helper;
  readonly debug: Helper;
}

/** The period of cpu.max: the kernel's default. */
const cpuPeriodUs = 100_000;

/** For builds whose job says nothing: far above what builds need, and far below what makes a box unusable. */
const defaultProcesses = 4096;

export class CgroupTrees implements ProcessTrees {
  readonly kind = "cgroup";
  readonly #base: CgroupBase;
  readonly #users: BuildUsers | undefined;
  readonly #helpers: Helpers | undefined;

  /**
   * @param base the caller disposes it after the last build
   * @param own.users that builds run as, started by own.helpers; absent: this process's own user
   */
  constructor(base: CgroupBase, own?: { readonly users: BuildUsers; readonly helpers: Helpers }) {
    this.#base = base;
    this.#users = own?.users;
    this.#helpers = own?.helpers;
  }

  get apart(): boolean {
    return this.#helpers !== undefined;
  }

  async create(
    name: string,
    limits: Limits,
    workspace: string,
    owner: TreeOwner = "build",
  ): Promise<ProcessTree> {
    const group = await this.#base.create(name);
    const warnings: string[] = [];
    const settings: [keyof Limits, Controller, string, string][] = [
      ["memory", "memory", "memory.max", String(Math.floor(limits.memory ?? 0))],
      ["processes", "pids", "pids.max", String(Math.floor(limits.processes ?? defaultProcesses))],
      [
        "cpu",
        "cpu",
        "cpu.max",
        `${Math.max(1000, Math.round((limits.cpu ?? 0) * cpuPeriodUs))} ${cpuPeriodUs}`,
      ],
    ];
    for (const [limit, controller, file, value] of settings) {
      if (limits[limit] === undefined && limit !== "processes") continue;
      const lack = this.#base.lacking.get(controller) ?? (await group.set(file, value));
      if (lack && limits[limit] !== undefined) warnings.push(`the limit of ${limit} isn't enforced: ${lack}`);
    }
    try {
      const user = await this.#userFor(owner, workspace);
      return new CgroupTree(group, warnings, user, owner === "build" ? this.#helpers : undefined);
    } catch (error) {
      await group.remove();
      throw error;
    }
  }

  async #userFor(owner: TreeOwner, folder: string): Promise<BuildUser | undefined> {
    if (owner === "operator") return undefined;
    return owner === "fetch" ? this.#users?.acquireFetch(folder) : this.#users?.acquire(folder);
  }

  async sweepStale(): Promise<FoundProcess[]> {
    return await this.#base.sweepStale();
  }
}

class CgroupTree implements ProcessTree {
  readonly warnings: string[];
  readonly #group: Cgroup;
  readonly #user: BuildUser | undefined;
  readonly startApart?: (command: ApartCommand) => Promise<Started>;

  constructor(group: Cgroup, warnings: string[], user: BuildUser | undefined, helpers: Helpers | undefined) {
    this.#group = group;
    this.warnings = warnings;
    this.#user = user;
    if (helpers && user) this.startApart = (command) => startApart(helpers, user, group, command);
  }

  launch(argv: readonly [string, ...string[]]): Launch {
    return launcher(argv, { group: this.#group.directory, account: this.#user?.account });
  }

  attach(): void {
    // The launcher enters the group by itself.
  }

  async give(path: string): Promise<void> {
    await this.#user?.give(path);
  }

  async processes(): Promise<FoundProcess[]> {
    return await this.#group.processes();
  }

  async terminate(): Promise<void> {
    await this.#group.signal("SIGTERM");
  }

  async emptied(timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    return await this.#group.emptied(timeoutMs, signal);
  }

  async kill(): Promise<Killed> {
    const found = await this.#group.processes();
    return { found, survivors: await this.#group.kill() };
  }

  async outOfMemory(): Promise<boolean> {
    return (await this.#group.oomKills()) > 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Normally kill() was called before; if it failed, the caller knows, and the next agent's start tries again.
    await this.kill().catch(() => {});
    await this.#group.remove();
    await this.#user?.[Symbol.asyncDispose]();
  }
}

async function startApart(
  helpers: Helpers,
  { account }: BuildUser,
  { directory }: Cgroup,
  { argv, cwd, env, output, place }: ApartCommand,
): Promise<Started> {
  const command = { user: account.name, group: directory, folder: cwd, argv, env, output };
  const { debug, ...rest } = place;
  const helper = debug ? helpers.debug : helpers.normal;
  const started = await helper.start({ ...command, ...rest }).catch(asRunnerError);
  return { ...started, ended: started.ended.catch(asRunnerError) };
}

function asRunnerError(error: unknown): never {
  if (!(error instanceof HelperError)) throw error;
  throw new RunnerError("START", error.message, { cause: error });
}
