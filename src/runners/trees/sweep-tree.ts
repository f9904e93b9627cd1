/**
 * Process trees without control groups. Their processes are found in /proc: by session, ancestry, a cookie in the environment,
 * the output pipe they hold, and as orphans that the kernel gave us as their new parent. remains.ts reports what none of this
 * finds.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import {
  describeProcess,
  environmentValue,
  type FoundProcess,
  isDead,
  listProcesses,
  outputsOf,
  type ProcessStat,
  readStat,
  signalProcess,
  ticksNow,
  workingDirectory,
} from "#/host/proc.ts";
import { signalGroup } from "#/lib/process-group.ts";
import { startCommand } from "./command.ts";
import { Ahead, Launcher, launcher } from "./launcher.ts";
import { isInside } from "./remains.ts";
import type { Subreaper } from "./subreaper.ts";
import type {
  Command,
  Killed,
  Launch,
  Limits,
  ProcessTree,
  ProcessTrees,
  ScriptCommand,
  Started,
  StartedCommand,
} from "./tree.ts";

const cookieName = "LABGEAR_COOKIE";

const killTimeoutMs = 5000;

/** The kernel notifies only the parent of a process's end, so we poll. */
const pollIntervalMs = 50;

export interface SweepOptions {
  /** Unique on the box and the same at each start; without a dot. */
  readonly id: string;
  /** Why there are no control groups, in a line. */
  readonly reason: string;
  /** Absent: init becomes the parent of orphans, and those without a trace can't be found. */
  readonly subreaper?: Subreaper | undefined;
}

/** A launcher, and when it was started, in clock ticks since boot. */
class ReadyLauncher implements AsyncDisposable {
  readonly since: number;
  readonly launcher: Launcher;

  private constructor(since: number, launcher: Launcher) {
    this.since = since;
    this.launcher = launcher;
  }

  static async make(): Promise<ReadyLauncher> {
    const since = ticksNow();
    return new ReadyLauncher(since, await Launcher.start());
  }

  get waits(): boolean {
    return this.launcher.waits;
  }

  get hasEntered(): boolean {
    return this.launcher.hasEntered;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.launcher[Symbol.dispose]();
  }
}

export class SweepTrees implements ProcessTrees, AsyncDisposable {
  readonly kind = "sweep";
  readonly apart = false;
  readonly options: SweepOptions;
  /** The trees in use. */
  readonly live = new Set<SweepTree>();
  readonly #ahead = new Ahead(() => ReadyLauncher.make());

  constructor(options: SweepOptions) {
    this.options = options;
  }

  async create(
    _name: string,
    limits: Limits,
    workspace: string,
    _owner?: unknown,
    content: "command" | "script" = "command",
  ): Promise<ProcessTree> {
    const warnings = (["memory", "processes", "cpu"] as const)
      .filter((limit) => limits[limit] !== undefined)
      .map((limit) => `the limit of ${limit} isn't enforced: ${this.options.reason}`);
    const ready = content === "script" ? await this.#takeReady() : undefined;
    const tree = new SweepTree(this, workspace, warnings, ready);
    this.live.add(tree);
    return tree;
  }

  async #takeReady(): Promise<ReadyLauncher> {
    try {
      return await this.#ahead.take();
    } catch (error) {
      this.#ahead.release();
      throw error;
    }
  }

  /** A tree is done with. */
  release(tree: SweepTree, ready: ReadyLauncher | undefined): void {
    this.live.delete(tree);
    if (!ready) return;
    ready.launcher[Symbol.dispose]();
    this.#ahead.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ahead[Symbol.asyncDispose]();
  }

  async sweepStale(): Promise<FoundProcess[]> {
    const own = readStat(process.pid);
    const { found } = await killAll(async () => {
      const stats: ProcessStat[] = [];
      for (const stat of await listProcesses()) {
        if (isDead(stat) || stat.session === own?.session) continue;
        const cookie = await environmentValue(stat.pid, cookieName);
        if (cookie?.startsWith(`${this.options.id}.`)) stats.push(stat);
      }
      return stats;
    });
    return found;
  }
}

class SweepTree implements ProcessTree {
  readonly warnings: readonly string[];
  readonly workspace: string;
  readonly #trees: SweepTrees;
  readonly #cookie: string;
  /** Clock ticks since boot: older processes aren't ours. */
  readonly #created: number;
  /** Our sessions, as long as they have a process: after that the id can be reused. */
  readonly #sessions = new Set<number>();
  readonly #members = new Set<string>();
  readonly #ready: ReadyLauncher | undefined;
  /** Nothing is left of it. */
  #isKilled = false;
  #output: string | undefined;

  constructor(
    trees: SweepTrees,
    workspace: string,
    warnings: readonly string[],
    ready: ReadyLauncher | undefined,
  ) {
    this.#trees = trees;
    this.workspace = workspace;
    this.#created = ready?.since ?? ticksNow();
    this.#ready = ready;
    this.warnings = warnings;
    this.#cookie = `${trees.options.id}.${randomBytes(12).toString("hex")}`;
  }

  launch(argv: readonly [string, ...string[]]): Launch {
    return launcher(argv, { env: { [cookieName]: this.#cookie } });
  }

  async start(command: ScriptCommand): Promise<Started> {
    if (!this.#ready) throw new TypeError("this tree is for commands");
    const env = { ...command.env, [cookieName]: this.#cookie };
    const started = await this.#ready.launcher.become({ ...command, env });
    if (started.pid !== undefined) this.#sessions.add(started.pid);
    this.#output = started.output.link;
    return started;
  }

  async run(command: Command): Promise<StartedCommand> {
    return startCommand(this.launch(command.argv), command);
  }

  async give(): Promise<void> {
    // Without control groups builds run as the agent's user.
  }

  async processes(): Promise<FoundProcess[]> {
    return await Promise.all((await this.#find()).map(describeProcess));
  }

  async terminate(): Promise<void> {
    for (const stat of await this.#find()) signalProcess(stat, "SIGTERM");
  }

  async emptied(timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    const until = performance.now() + timeoutMs;
    while ((await this.#find()).length > 0) {
      const left = until - performance.now();
      if (left <= 0 || signal?.aborted) return false;
      await delay(Math.min(pollIntervalMs, left), undefined, signal ? { signal } : {}).catch(() => undefined);
    }
    return true;
  }

  async kill(): Promise<Killed> {
    const killed = await killAll(() => this.#find());
    this.#isKilled = killed.survivors.length === 0;
    return killed;
  }

  async outOfMemory(): Promise<boolean> {
    return false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Normally kill() was called before; if it failed, the caller knows, and the next agent's start tries again.
    if (!this.#isKilled) await killAll(() => this.#find()).catch(() => {});
    this.#trees.release(this, this.#ready);
  }

  /** The living members: those known before, and those that the other traces add. */
  async #find(): Promise<ProcessStat[]> {
    const all = await listProcesses();
    const ownSession = all.find((stat) => stat.pid === process.pid)?.session;
    const others = all.filter((stat) => stat.started >= this.#created && stat.session !== ownSession);
    const members = new Map<number, ProcessStat>();
    for (const stat of others) {
      if (await this.#isMember(stat)) members.set(stat.pid, stat);
    }
    for (let size = -1; size !== members.size; ) {
      size = members.size;
      const sessions = new Set([...members.values()].map((stat) => stat.session));
      for (const stat of others) {
        if (members.has(stat.parent) || sessions.has(stat.session)) members.set(stat.pid, stat);
      }
    }
    this.#members.clear();
    this.#sessions.clear();
    for (const stat of members.values()) {
      this.#members.add(identity(stat));
      this.#sessions.add(stat.session);
    }
    return [...members.values()].filter((stat) => !isDead(stat));
  }

  async #isMember(stat: ProcessStat): Promise<boolean> {
    if (this.#members.has(identity(stat)) || this.#sessions.has(stat.session)) return true;
    if ((await environmentValue(stat.pid, cookieName)) === this.#cookie) return true;
    if (this.#output !== undefined && outputsOf(stat.pid).includes(this.#output)) return true;
    return this.#trees.options.subreaper?.isAdopted(stat) === true && (await this.#isMyOrphan(stat));
  }

  /** An orphan without a trace belongs to the tree whose workspace it is in, or to the only one in use. */
  async #isMyOrphan(stat: ProcessStat): Promise<boolean> {
    const directory = workingDirectory(stat.pid);
    const owner = [...this.#trees.live].find((tree) => isInside(directory, tree.workspace));
    return owner ? owner === this : this.#trees.live.size === 1;
  }
}

/** How many processes a record lists. */
const maxFound = 1000;

/** How often in a row nothing must be found: a process that forks and exits all the time can escape one look. */
const quietLooks = 3;

/** Kills what find() finds until it finds nothing, for 5 s at most. */
async function killAll(find: () => Promise<ProcessStat[]>) {
  const until = performance.now() + killTimeoutMs;
  const found = new Map<string, FoundProcess>();
  for (let quiet = 0; quiet < quietLooks; ) {
    const stats = await find();
    if (performance.now() > until) {
      return { found: [...found.values()], survivors: await Promise.all(stats.map(describeProcess)) };
    }
    quiet = stats.length === 0 ? quiet + 1 : 0;
    for (const stat of stats) {
      if (found.size < maxFound && !found.has(identity(stat)))
        found.set(identity(stat), await describeProcess(stat));
    }
    // A group gets the signal atomically: no fork can outrun it. All groups of a session are the build's.
    for (const group of new Set(stats.map((stat) => stat.group))) signalGroup(group, "SIGKILL");
    for (const stat of stats) signalProcess(stat, "SIGKILL");
  }
  return { found: [...found.values()], survivors: [] };
}

const identity = (stat: ProcessStat): string => `${stat.pid} ${stat.started}`;
