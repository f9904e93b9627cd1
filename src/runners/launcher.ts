/** The small shell program that goes ahead of each job: it enters the tree, then becomes the command. */
import type { Launch } from "./tree.ts";

/**
 * $1 is the control group's directory, or empty. Arguments, not variables, carry what it needs, so that the job's
 * environment stays as given; PWD is what a shell would add of itself, and may be wrong. Builds are the first to go when memory runs out, and leave no core files unless they ask for them.
 */
const program = `
if [ -n "$1" ]; then
  { echo 0 > "$1/cgroup.procs"; } 2>&3 || exit 125
fi
{ echo 500 > /proc/self/oom_score_adj; } 2>/dev/null
ulimit -S -c 0 2>/dev/null
umask 022
unset PWD
shift
exec "$@" 3>&-
`;

/** Wraps argv. The group is the directory of a control group; undefined: none. */
export function launcher(
  argv: readonly [string, ...string[]],
  options: { group?: string; env?: Record<string, string>; keepPwd?: boolean } = {},
): Launch {
  const args = ["-c", program, "labgear-launch", options.group ?? "", ...argv];
  return { file: "/bin/sh", args, env: options.env ?? {} };
}
