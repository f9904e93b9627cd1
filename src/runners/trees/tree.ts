/** What holds all processes of a build together: a control group, or where there is none a search through /proc. */
import type { Account } from "#/host/accounts.ts";
import type { FoundProcess } from "#/host/proc.ts";

export interface Limits {
  /** Bytes. */
  readonly memory?: number;
  readonly processes?: number;
  /** Share of one processor: 2 is two whole ones. */
  readonly cpu?: number;
}

/** A command line that starts something inside a tree. */
export interface Launch {
  readonly file: string;
  readonly args: readonly string[];
  /** Variables to be added to the command's environment. */
  readonly env: Readonly<Record<string, string>>;
}

export type TreeOwner = "build" | "operator";

export interface ProcessTrees {
  /** How processes are held: "cgroup" loses none; "sweep" names what it could not hold. */
  readonly kind: "cgroup" | "sweep";

  /**
   * An empty tree.
   *
   * @param name for people; it need not be unique
   * @param limits what isn't enforceable here becomes a warning of the tree
   * @param workspace the directory the build works in: tells whose an orphan is where nothing else does
   * @param owner whose it is: a build's, or the operator's own, which runs as the agent does
   */
  create(name: string, limits: Limits, workspace: string, owner?: TreeOwner): Promise<ProcessTree>;

  /** Kills what an earlier agent, killed itself, left running. Before the first build. Returns what was found. */
  sweepStale(): Promise<FoundProcess[]>;
}

export interface Killed {
  /** Who lived in the tree, by the names they had then. */
  readonly found: readonly FoundProcess[];
  /** Who still does; normally nobody. */
  readonly survivors: readonly FoundProcess[];
}

export interface ProcessTree extends AsyncDisposable {
  /** One line each, such as a limit that isn't enforced; complete after kill(). */
  readonly warnings: readonly string[];

  /**
   * How to start argv inside the tree, with a file by its absolute path. The launcher closes file descriptor 3 when
   * it is inside and about to become the command; what it can't do it writes there, and exits.
   */
  launch(argv: readonly [string, ...string[]]): Launch;

  /**
   * Tells of the process that was started so, in the same turn.
   *
   * @param pid leads a session of its own
   * @param output what /proc shows its output descriptors as
   */
  attach(pid: number, output: string): void;

  /** Makes a file or folder, not what is in it, its own until it is disposed of, where the tree runs as another user. */
  hand(path: string): Promise<void>;

  /** Who lives in the tree. */
  processes(): Promise<FoundProcess[]>;

  /** Sends SIGTERM to every process there is now; what they start to clean up with is spared. */
  terminate(): Promise<void>;

  /** Waits until none is left. False: the milliseconds have passed, or the signal was aborted, before. */
  emptied(milliseconds: number, signal?: AbortSignal): Promise<boolean>;

  /** Kills every process and waits until they are gone, 5 s at most. */
  kill(): Promise<Killed>;

  /** Whether the kernel killed one of its processes because the memory limit was reached. */
  outOfMemory(): Promise<boolean>;
}

/**
 * $1 is the control group's directory, or empty; $2 to $5 name, number, group and home of the user to become, or are empty.
 * Arguments, not variables, carry what it needs, so that the job's
 * environment stays as given; PWD is what a shell would add of itself, and may be wrong. Builds are the first to go when memory runs out, and leave no core files unless they ask for them.
 * What setpriv(1) says is the launcher's complaint, until it has become the user, for good and without any capability.
 */
const program = `
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

/** Wraps argv. The group is the directory of a control group, the account the user to become; undefined: none. */
export function launcher(
  argv: readonly [string, ...string[]],
  options: { group?: string; account?: Account | undefined; env?: Record<string, string> } = {},
): Launch {
  const { account } = options;
  const user = account ? [account.name, `${account.uid}`, `${account.gid}`, account.home] : ["", "", "", ""];
  const args = ["-c", program, "labgear-launch", options.group ?? "", ...user, ...argv];
  return { file: "/bin/sh", args, env: options.env ?? {} };
}
