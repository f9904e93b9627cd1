/** A process tree: all processes of a build, held by a control group, or without one found by a search through /proc. */
import type { Network } from "#/helper/protocol.ts";
import type { Account } from "#/host/accounts.ts";
import type { FoundProcess } from "#/host/proc.ts";
import type { RunnerError } from "../errors.ts";

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

export interface ApartCommand {
  readonly argv: readonly [string, ...string[]];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** The descriptor that becomes stdout and stderr. */
  readonly output: number;
  readonly place: Place;
}

/** A command inside a tree. */
export interface Started {
  readonly pid: number | undefined;
  /** Resolves when it is in the tree: with the reason when the launcher failed, else with "". */
  readonly inside: Promise<string>;
  readonly ended: Promise<Exit>;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why there was no command at all. */
  readonly unstarted?: RunnerError;
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
   */
  create(name: string, limits: Limits, workspace: string, owner?: TreeOwner): Promise<ProcessTree>;

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
   * Starts a build's command in a place of its own; absent where builds have none.
   * @throws RunnerError START
   */
  startApart?(command: ApartCommand): Promise<Started>;

  /**
   * Adds the process that was started with launch(); call it in the same turn.
   *
   * @param pid it leads a session of its own
   * @param output how /proc/PID/fd shows its output
   */
  attach(pid: number, output: string): void;

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

/**
 * The launcher: a small shell program that runs before each job, enters the tree and becomes the command. $1 is the control
 * group's directory; $2 to $5 are name, uid, gid and home of the user to become; all can be empty. They are arguments, not
 * variables, to keep the job's environment as given; PWD is unset since the shell adds it, and it can be wrong. When memory runs
 * out, builds are killed first; they leave no core files unless they ask for them. setpriv(1) gives up all capabilities for
 * good; its error messages go to descriptor 3.
 */
const launcherScript = `
if [ -n "$1" ]; then
  { echo 0 > "$1/cgroup.procs"; } 2>&3 || exit 125
fi
{ echo 500 > /proc/self/oom_score_adj; } 2>/dev/null
ulimit -S -c 0 2>/dev/null
umask 022
unset PWD
if [ -z "$2" ]; then
  shift 5
  exec "$@" 3>&-
fi
user=$3 group=$4
export HOME="$5" USER="$2" LOGNAME="$2"
shift 5
exec setpriv --reuid="$user" --regid="$group" --init-groups --inh-caps=-all --ambient-caps=-all --no-new-privs \
  /bin/sh -c 'exec "$@" 2>&4 3>&- 4>&-' labgear-launch "$@" 4>&2 2>&3
`;

/** @param options.group the directory of a control group
 * @param options.account the user to become */
export function launcher(
  argv: readonly [string, ...string[]],
  options: { group?: string; account?: Account | undefined; env?: Record<string, string> } = {},
): Launch {
  const { account } = options;
  const user = account ? [account.name, `${account.uid}`, `${account.gid}`, account.home] : ["", "", "", ""];
  const args = ["-c", launcherScript, "labgear-launch", options.group ?? "", ...user, ...argv];
  return { file: "/bin/sh", args, env: options.env ?? {} };
}
