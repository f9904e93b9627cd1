/** The small shell program that goes ahead of each job: it enters the tree, then becomes the command. */
import type { Account } from "#/host/accounts.ts";
import type { Launch } from "../trees/tree.ts";

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
