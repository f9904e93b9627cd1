/** What is there after the kill of a build: its processes that outlive SIGKILL, and strangers in its workspace. */
import {
  describeProcess,
  isDead,
  listProcesses,
  openFilesOf,
  type ProcessStat,
  readStat,
  ticksNow,
  workingDirectory,
} from "#/host/proc.ts";

/** A process that can't be killed, as long as it lives. */
export type Survivor = Pick<ProcessStat, "pid" | "started">;

/** Those of the processes that live. */
export async function findSurvivors(processes: readonly { readonly pid: number }[]): Promise<Survivor[]> {
  const stats = await Promise.all(processes.map(({ pid }) => readStat(pid)));
  return stats.filter((stat) => stat !== undefined).filter((stat) => !isDead(stat));
}

/** Those that still live. */
export async function stillAlive(survivors: readonly Survivor[]): Promise<Survivor[]> {
  const now = new Map((await findSurvivors(survivors)).map(({ pid, started }) => [pid, started]));
  return survivors.filter(({ pid, started }) => now.get(pid) === started);
}

/**
 * Looks for processes that work in a build's workspace and aren't known to be the build's: what dockerd or systemd runs for it, or a
 * person's shell. They are reported, not killed. Those of users that the agent can't look into stay unseen.
 * @returns to be called when the build's own processes are killed: a line for each stranger
 */
export async function watchForStrangers(
  workspace: string,
): Promise<(survivors: readonly { readonly pid: number }[]) => Promise<string[]>> {
  const since = await ticksNow();
  return (survivors) => reportStrangers(workspace, since, survivors);
}

/** @param since when the build began, in clock ticks since boot */
async function reportStrangers(
  workspace: string,
  since: number,
  survivors: readonly { readonly pid: number }[],
): Promise<string[]> {
  const known = new Set([process.pid, ...survivors.map(({ pid }) => pid)]);
  const lines: string[] = [];
  for (const stat of await listProcesses()) {
    // The agent's children are its other builds.
    if (known.has(stat.pid) || stat.parent === process.pid || isDead(stat)) continue;
    const isYounger = stat.started >= since;
    const stands = isInside(await workingDirectory(stat.pid), workspace);
    // Only of the younger ones: a box has thousands of open files.
    if (!stands && !(isYounger && (await openFilesOf(stat.pid)).some((path) => isInside(path, workspace))))
      continue;
    const { pid, command } = await describeProcess(stat);
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
