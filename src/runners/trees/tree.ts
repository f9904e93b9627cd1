/** A process tree: all processes of a build, held by a control group, or without one found by a search through /proc. */
import type { Readable } from "node:stream";
import type { Network } from "#/helper/protocol.ts";
import type { FoundProcess } from "#/host/proc.ts";
import type { OutputPipe } from "../script/output.ts";

export interface Limits {
  /** Bytes. */
  readonly memory?: number;
  readonly processes?: number;
  /** In processors. */
  readonly cpu?: number;
}

/** How to start something inside a tree. */
export interface Launch {
  readonly file: string;
  readonly args: readonly string[];
  /** Added to the command's environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** Where a build is by itself: its folders, namespaces and network. */
export interface Place {
  /** Has its home, tmp and var-tmp, which are given to its user. */
  readonly scratch: string;
  readonly network: Network;
  /** Names below /dev; all: what its user may open. */
  readonly devices: "all" | readonly string[];
  /** Whether it may trace its processes, and be root in a namespace. */
  readonly debug: boolean;
}

export interface ScriptCommand {
  readonly argv: readonly [string, ...string[]];
  readonly cwd: string;
  /** The complete environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly place?: Place | undefined;
}

/** A script inside a tree. */
export interface Started {
  readonly pid: number | undefined;
  /** Of its stdout and stderr. */
  readonly output: OutputPipe;
  /** Resolves when it is in the tree: with the reason when the launcher failed, else with "". */
  readonly inside: Promise<string>;
  readonly ended: Promise<Exit>;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A command of our own, such as git. */
export interface Command {
  readonly argv: readonly [string, ...string[]];
  readonly cwd: string;
  /** The complete environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** What it reads from standard input. */
  readonly input?: string;
}

export interface StartedCommand {
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** When its own process has ended. Never rejects. */
  readonly ended: Promise<CommandEnd>;
  /** Sends SIGTERM to all of it. Never rejects. */
  terminate(): Promise<void>;
}

export interface CommandEnd {
  /** null: a signal ended it. */
  readonly code: number | null;
  /** Why there was no command at all. */
  readonly unstarted?: unknown;
}

export type TreeOwner = "build" | "fetch" | "operator";

export interface ProcessTrees {
  /** How processes are found: a cgroup misses none; a sweep can miss some, and reports what it suspects. */
  readonly kind: "cgroup" | "sweep";
  /** Whether builds have a place of their own. */
  readonly apart: boolean;

  /**
   * An empty tree.
   *
   * @param name for people; it need not be unique
   * @param limits one that can't be enforced here becomes a warning of the tree
   * @param workspace the build's directory: an orphan in it belongs to the tree
   * @param owner a build, or the operator, whose scripts run as the agent's user
   * @param content a script is started at once: what can be is done ahead
   */
  create(
    name: string,
    limits: Limits,
    workspace: string,
    owner?: TreeOwner,
    content?: "command" | "script",
  ): Promise<ProcessTree>;

  /** Kills what an earlier agent that was killed left running. Call it before the first build. Returns what was found. */
  sweepStale(): Promise<FoundProcess[]>;
}

export interface Killed {
  /** The processes that were alive before the kill. */
  readonly found: readonly FoundProcess[];
  /** Those that still are; normally none. */
  readonly survivors: readonly FoundProcess[];
}

export interface ProcessTree extends AsyncDisposable {
  /** One line each, such as a limit that isn't enforced. Complete after kill(). */
  readonly warnings: readonly string[];

  /**
   * How to start argv inside the tree. The launcher closes file descriptor 3 when it is inside and about to become the
   * command; if it fails, it writes the reason there and exits.
   */
  launch(argv: readonly [string, ...string[]]): Launch;

  /**
   * Starts a script in the tree, a build's in a place of its own where builds have one.
   * @throws RunnerError START
   */
  start(command: ScriptCommand): Promise<Started>;

  /**
   * Starts a command of our own, such as git, as the tree's user.
   * @throws why it can't be started
   */
  run(command: Command): Promise<StartedCommand>;

  /** Gives a file or folder (not its content) to the tree's user until the tree is disposed. */
  give(path: string): Promise<void>;

  /** The living processes. */
  processes(): Promise<FoundProcess[]>;

  /** Sends SIGTERM to every process that exists now, and not to those that they start to clean up. */
  terminate(): Promise<void>;

  /** Waits until no process is left. False: the time is over, or the signal aborted. */
  emptied(timeoutMs: number, signal?: AbortSignal): Promise<boolean>;

  /** Kills every process and waits until they are gone, for 5 s at most. */
  kill(): Promise<Killed>;

  /** Whether the kernel killed a process at the memory limit. */
  outOfMemory(): Promise<boolean>;
}
