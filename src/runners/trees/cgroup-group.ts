/** One control group that holds a process tree: who is in it, ending it, and waiting for it to be empty. Source: cgroup-v2.rst. */
import { on } from "node:events";
import { watch } from "node:fs";
import { readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { describePids, type FoundProcess, isDead, readStat, signalProcess } from "#/host/proc.ts";
import { reason } from "#/lib/errors.ts";

/** How long a killed group may take to be empty, in milliseconds; measured: under 20. */
const killBound = 5000;

export class Cgroup {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Sets a limit, such as ("pids.max", "100"). Undefined: done; else the reason why not. */
  async set(file: string, value: string): Promise<string | undefined> {
    return await writeFile(`${this.directory}/${file}`, value).then(() => undefined, reason);
  }

  /** How often the kernel killed a process here because the memory limit was reached. */
  async oomKills(): Promise<number> {
    const text = await readFile(`${this.directory}/memory.events`, "utf8").catch(() => "");
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
  }

  /** The living processes here and in the groups below, which a job may have made. */
  async processes(): Promise<FoundProcess[]> {
    for (let look = 0; look < 20; look++) {
      const found = await describePids(await this.#pids());
      // Who forks and exits between listing and describing is missed: somebody is there, so look again.
      if (found.length > 0 || !(await this.#populated())) return found;
    }
    return [];
  }

  /**
   * Sends a signal to every process that is here now, and not to those that they start because of it, such as the
   * commands of a shell's trap.
   */
  async signal(signal: NodeJS.Signals): Promise<void> {
    const stats = await Promise.all((await this.#pids()).map((pid) => readStat(pid)));
    for (const stat of stats) {
      if (stat && !isDead(stat)) await signalProcess(stat, signal);
    }
  }

  /** Kills every process at once and waits until they are gone. Returns those that aren't after 5 s, normally none. */
  async kill(): Promise<FoundProcess[]> {
    const refused = await this.set("cgroup.kill", "1");
    // Linux before 5.14 has no cgroup.kill; whoever forks meanwhile is caught in the next round.
    for (let round = 0; refused && round < 100 && (await this.#populated()); round++)
      await this.signal("SIGKILL");
    return (await this.emptied(killBound)) ? [] : await this.processes();
  }

  /** Waits until no process is left, woken by the kernel. False: milliseconds have passed before. */
  async emptied(milliseconds: number, signal?: AbortSignal): Promise<boolean> {
    if (!(await this.#populated())) return true;
    const bound = AbortSignal.timeout(Math.min(milliseconds, 0x7fffffff));
    const watcher = watch(`${this.directory}/cgroup.events`);
    try {
      const changes = on(watcher, "change", { signal: signal ? AbortSignal.any([bound, signal]) : bound });
      if (!(await this.#populated())) return true;
      for await (const _ of changes) {
        if (!(await this.#populated())) return true;
      }
    } catch (error) {
      if (!(error instanceof Error && error.name === "AbortError")) throw error;
    } finally {
      watcher.close();
    }
    return !(await this.#populated());
  }

  /** Removes the group and those below it. Undefined: gone; else the reason why not (EBUSY: somebody lives there). */
  async remove(): Promise<string | undefined> {
    for (const below of await subgroups(this.directory)) await new Cgroup(below).remove();
    const refused = await rmdir(this.directory).then(() => undefined, reason);
    return refused === "ENOENT" ? undefined : refused;
  }

  async #populated(): Promise<boolean> {
    const text = await readFile(`${this.directory}/cgroup.events`, "utf8").catch((error: unknown) => {
      if (reason(error) === "ENOENT" || reason(error) === "ENODEV") return "";
      throw error;
    });
    return /^populated 1$/m.test(text);
  }

  async #pids(): Promise<number[]> {
    const text = await readFile(`${this.directory}/cgroup.procs`, "utf8").catch(() => "");
    const pids = text
      .split("\n")
      .map(Number)
      .filter((pid) => pid > 0);
    for (const below of await subgroups(this.directory)) pids.push(...(await new Cgroup(below).#pids()));
    return pids;
  }
}

/** The directories of the groups directly below. */
export async function subgroups(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => `${directory}/${entry.name}`);
}
