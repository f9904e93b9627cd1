/** Process trees in control groups: no process escapes, whatever it does to its session or environment. */
import type { Helper } from "#/helper/client.ts";
import { HelperError } from "#/helper/protocol.ts";
import type { FoundProcess } from "#/host/proc.ts";
import { RunnerError } from "../errors.ts";
import { OutputPipe } from "../script/output.ts";
import type { Cgroup } from "./cgroup.ts";
import type { CgroupBase, Controller } from "./cgroup-base.ts";
import { startCommand, startHelpedCommand } from "./command.ts";
import { Ahead, Launcher, launcher } from "./launcher.ts";
import type {
  Command,
  Killed,
  Launch,
  Limits,
  Place,
  ProcessTree,
  ProcessTrees,
  ScriptCommand,
  Started,
  StartedCommand,
  TreeOwner,
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

/** A group with a launcher in it. */
class ReadyGroup implements AsyncDisposable {
  readonly group: Cgroup;
  readonly launcher: Launcher;
  readonly #base: CgroupBase;

  constructor(base: CgroupBase, group: Cgroup, launcher: Launcher) {
    this.#base = base;
    this.group = group;
    this.launcher = launcher;
  }

  static async make(base: CgroupBase): Promise<ReadyGroup> {
    const group = await base.create("script");
    try {
      return new ReadyGroup(base, group, await Launcher.start(group.directory));
    } catch (error) {
      await base.discard(group);
      throw error;
    }
  }

  get waits(): boolean {
    return this.launcher.waits;
  }

  get hasEntered(): boolean {
    return this.launcher.hasEntered;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.launcher[Symbol.dispose]();
    await this.#base.discard(this.group);
  }
}

export class CgroupTrees implements ProcessTrees, AsyncDisposable {
  readonly kind = "cgroup";
  readonly #base: CgroupBase;
  readonly #users: BuildUsers | undefined;
  readonly #helpers: Helpers | undefined;
  readonly #ahead: Ahead<ReadyGroup>;

  /**
   * @param base the caller disposes it after the last build
   * @param own.users that builds run as, started by own.helpers; absent: this process's own user
   */
  constructor(base: CgroupBase, own?: { readonly users: BuildUsers; readonly helpers: Helpers }) {
    this.#base = base;
    this.#users = own?.users;
    this.#helpers = own?.helpers;
    this.#ahead = new Ahead(() => ReadyGroup.make(base));
  }

  get apart(): boolean {
    return this.#helpers !== undefined;
  }

  async create(
    name: string,
    limits: Limits,
    workspace: string,
    owner: TreeOwner = "build",
    content: "command" | "script" = "command",
  ): Promise<ProcessTree> {
    // The helper starts a build's script itself.
    const isHelped = owner === "build" && this.#helpers !== undefined;
    if (content === "command" || isHelped)
      return this.#furnish(await this.#base.create(name), limits, workspace, owner);
    try {
      const { group, launcher } = await this.#ahead.take();
      return await this.#furnish(group, limits, workspace, owner, launcher);
    } catch (error) {
      this.#ahead.release();
      throw error;
    }
  }

  async #furnish(
    group: Cgroup,
    limits: Limits,
    workspace: string,
    owner: TreeOwner,
    launcher?: Launcher,
  ): Promise<ProcessTree> {
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
      const helpers = this.#helpers;
      const release = () => this.#ahead.release();
      const discard = () => this.#base.discard(group);
      return new CgroupTree({
        group,
        discard,
        warnings,
        user,
        helpers,
        ...(launcher && { launcher, release }),
      });
    } catch (error) {
      launcher?.[Symbol.dispose]();
      await this.#base.discard(group);
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ahead[Symbol.asyncDispose]();
  }
}

interface CgroupTreeParts {
  readonly group: Cgroup;
  /** Removes the group. */
  readonly discard: () => Promise<void>;
  readonly warnings: string[];
  readonly user: BuildUser | undefined;
  readonly helpers: Helpers | undefined;
  readonly launcher?: Launcher;
  /** When the launcher is done with. */
  readonly release?: () => void;
}

class CgroupTree implements ProcessTree {
  readonly #parts: CgroupTreeParts;

  constructor(parts: CgroupTreeParts) {
    this.#parts = parts;
  }

  get warnings(): readonly string[] {
    return this.#parts.warnings;
  }

  get #group(): Cgroup {
    return this.#parts.group;
  }

  launch(argv: readonly [string, ...string[]]): Launch {
    return launcher(argv, { group: this.#group.directory });
  }

  async start(command: ScriptCommand): Promise<Started> {
    const { helpers, user, group, launcher } = this.#parts;
    if (helpers && user && command.place) return startApart(helpers, user, group, command, command.place);
    if (!launcher) throw new TypeError("this tree is for commands");
    return launcher.become(command);
  }

  async run(command: Command): Promise<StartedCommand> {
    const { helpers, user } = this.#parts;
    if (!helpers || !user) return startCommand(this.launch(command.argv), command);
    const { account } = user;
    const group = this.#group.directory;
    return startHelpedCommand(helpers.normal, { account, group, belongings: user.begin() }, command);
  }

  async give(path: string): Promise<void> {
    await this.#parts.user?.give(path);
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
    return this.#group.oomKills > 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Normally nothing lives; if a kill failed, the caller knows, and the next agent's start tries again.
    const { discard, user, launcher, release } = this.#parts;
    launcher?.[Symbol.dispose]();
    await discard();
    await user?.[Symbol.asyncDispose]();
    release?.();
  }
}

async function startApart(
  helpers: Helpers,
  user: BuildUser,
  { directory }: Cgroup,
  { argv, cwd, env }: ScriptCommand,
  { debug, ...place }: Place,
): Promise<Started> {
  const output = await OutputPipe.open();
  try {
    const command = { user: user.account.name, group: directory, folder: cwd, place, argv, env };
    const helper = debug ? helpers.debug : helpers.normal;
    const started = await helper.start({
      ...command,
      belongings: user.begin(),
      pipes: [null, output.writer, output.writer],
    });
    return { ...started, output, ended: started.ended.catch(asRunnerError) };
  } catch (error) {
    output[Symbol.dispose]();
    return asRunnerError(error);
  } finally {
    output.closeWriter();
  }
}

function asRunnerError(error: unknown): never {
  if (!(error instanceof HelperError)) throw error;
  throw new RunnerError("START", error.message, { cause: error });
}
