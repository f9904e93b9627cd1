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

/** For so long, a process that was there before a build is taken to be in the folder where it was. */
const maxKnownMs = 1000;

/**
 * Looks for processes that work in builds' workspaces and aren't known to be the builds': what dockerd or systemd runs for them, or
 * a person's shell. They are reported, not killed. Those of users that the agent can't look into stay unseen.
 */
export class Strangers {
  /** Working directories by pid, since #knownSince by performance.now(): while builds come fast, each look would cost as much as a build. */
  readonly #known = new Map<number, string | undefined>();
  #knownSince = Number.NEGATIVE_INFINITY;

  /**
   * Call it before the build has processes.
   * @returns to be called when they are killed: a line for each stranger
   */
  watch(workspace: string): (survivors: readonly { readonly pid: number }[]) => Promise<string[]> {
    const before = lastPid();
    return (survivors) => this.#report(workspace, before, survivors);
  }

  /** @param before the last pid that was given out when the build began */
  async #report(
    workspace: string,
    before: number,
    survivors: readonly { readonly pid: number }[],
  ): Promise<string[]> {
    const pids = listPids();
    const now = lastPid();
    const known = new Set([process.pid, ...survivors.map(({ pid }) => pid)]);
    const lines: string[] = [];
    if (performance.now() - this.#knownSince > maxKnownMs) {
      this.#known.clear();
      this.#knownSince = performance.now();
    }
    for (const pid of pids) {
      if (known.has(pid)) continue;
      // They are given out in a circle.
      const isYounger = before <= now ? pid > before && pid <= now : pid > before || pid <= now;
      // Open files only of the younger ones: a box has thousands of them.
      const paths = isYounger ? [workingDirectory(pid), ...openFilesOf(pid)] : [this.#directoryOf(pid)];
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

  #directoryOf(pid: number): string | undefined {
    if (!this.#known.has(pid)) this.#known.set(pid, workingDirectory(pid));
    return this.#known.get(pid);
  }
}

export function isInside(path: string | undefined, workspace: string): boolean {
  return path !== undefined && (path === workspace || path.startsWith(`${workspace}/`));
}
