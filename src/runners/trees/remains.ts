/** What is there after the kill of a build: its processes that outlive SIGKILL, and strangers in its workspace. */
import {
  describeProcess,
  isDead,
  lastPid,
  listPids,
  openFilesOf,
  type ProcessStat,
  readStat,
  workingDirectory,
} from "#/host/proc.ts";

/** A process that can't be killed, as long as it lives. */
export type Survivor = Pick<ProcessStat, "pid" | "started">;

/** Those of the processes that live. */
export function findSurvivors(processes: readonly { readonly pid: number }[]): Survivor[] {
  const stats = processes.map(({ pid }) => readStat(pid));
  return stats.filter((stat) => stat !== undefined).filter((stat) => !isDead(stat));
}

/** Those that still live. */
export function stillAlive(survivors: readonly Survivor[]): Survivor[] {
  const now = new Map(findSurvivors(survivors).map(({ pid, started }) => [pid, started]));
  return survivors.filter(({ pid, started }) => now.get(pid) === started);
}

/**
 * Looks for processes that work in a build's workspace and aren't known to be the build's: what dockerd or systemd runs for it, or a
 * person's shell. They are reported, not killed. Those of users that the agent can't look into stay unseen.
 * @returns to be called when the build's own processes are killed: a line for each stranger
 */
export function watchForStrangers(
  workspace: string,
): (survivors: readonly { readonly pid: number }[]) => Promise<string[]> {
  const before = lastPid();
  return (survivors) => reportStrangers(workspace, before, survivors);
}

/** @param before the last pid that was given out when the build began */
async function reportStrangers(
  workspace: string,
  before: number,
  survivors: readonly { readonly pid: number }[],
): Promise<string[]> {
  const pids = listPids();
  const now = lastPid();
  const known = new Set([process.pid, ...survivors.map(({ pid }) => pid)]);
  const lines: string[] = [];
  for (const pid of pids) {
    if (known.has(pid)) continue;
    // They are given out in a circle.
    const isYounger = before <= now ? pid > before && pid <= now : pid > before || pid <= now;
    // Open files only of the younger ones: a box has thousands of them.
    const paths = [workingDirectory(pid), ...(isYounger ? openFilesOf(pid) : [])];
    if (!paths.some((path) => isInside(path, workspace))) continue;
    const stat = readStat(pid);
    // The agent's children are its other builds.
    if (!stat || stat.parent === process.pid || isDead(stat)) continue;
    const { command } = await describeProcess(stat);
    const doubt = isYounger
      ? "may belong to this build, and was left running"
      : "and was there before this build began";
    lines.push(`process ${pid} (${command}) works in the workspace, ${doubt}`);
  }
  return lines;
}

export function isInside(path: string | undefined, workspace: string): boolean {
  return path !== undefined && (path === workspace || path.startsWith(`${workspace}/`));
}
