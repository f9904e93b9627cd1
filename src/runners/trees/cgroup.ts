/** Control groups of version 2: whether this agent can use them, and one group with a process tree. Source: cgroups(7), cgroup-v2.rst. */
import { on } from "node:events";
import { readdirSync, readFileSync, watch } from "node:fs";
import { access, constants, readFile, rmdir, writeFile } from "node:fs/promises";
import { posix } from "node:path";
import { describePids, type FoundProcess, isDead, readStat, signalProcess } from "#/host/proc.ts";
import { reason } from "#/lib/errors.ts";

/** The group that this process is in. */
export interface CgroupHome {
  /** Where the hierarchy is mounted: /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid system. */
  readonly mount: string;
  /** The directory of our group. */
  readonly directory: string;
  /** The controllers available there; a hybrid system has most of them in version 1. */
  readonly controllers: readonly string[];
}

/** Why there are no control groups, in a line. */
export interface Unavailable {
  readonly unavailable: string;
}

/**
 * Our group's directory, from the texts of /proc/self/mountinfo and /proc/self/cgroup. In a container the mount can show a part
 * of the hierarchy; a group outside of it can't be reached.
 */
export function locateCgroup(
  mountinfo: string,
  membership: string,
): { mount: string; directory: string } | Unavailable {
  const group = /^0::(\/.*)$/m.exec(membership)?.[1];
  if (group === undefined)
    return { unavailable: "the kernel has no control groups of version 2 (no 0:: in /proc/self/cgroup)" };
  for (const line of mountinfo.split("\n")) {
    // ID PARENT MAJOR:MINOR ROOT MOUNT OPTIONS [FIELDS…] - TYPE SOURCE OPTIONS
    const [front = "", back = ""] = line.split(" - ", 2);
    const [, , , root, mount] = front.split(" ").map(unescapeOctal);
    if (!back.startsWith("cgroup2 ") || !root || !mount) continue;
    const below = posix.relative(root, group);
    // The kernel shows a group above our namespace's root as /..; relative() would lose that.
    if (/^\.\.(\/|$)/.test(below) || /^\/\.\.(\/|$)/.test(group)) {
      return {
        unavailable: `this process's control group ${group} is outside of what is mounted at ${mount}`,
      };
    }
    return { mount, directory: posix.join(mount, below) };
  }
  return { unavailable: "control groups of version 2 aren't mounted (no cgroup2 in /proc/self/mountinfo)" };
}

/** Finds this process's group. Never throws: an error becomes the reason why there are no control groups. */
export async function detectCgroups(): Promise<CgroupHome | Unavailable> {
  try {
    const located = locateCgroup(
      await readFile("/proc/self/mountinfo", "utf8"),
      await readFile("/proc/self/cgroup", "utf8"),
    );
    if ("unavailable" in located) return located;
    const { directory } = located;
    for (const path of [directory, `${directory}/cgroup.procs`]) {
      const refused = await access(path, constants.W_OK).then(() => undefined, reason);
      if (refused) {
        const advice =
          "run it as root, or as a systemd unit with Delegate=yes and without ProtectControlGroups=";
        return { unavailable: `no permission to write ${path} (${refused}); ${advice}` };
      }
    }
    return { ...located, controllers: await readWords(`${directory}/cgroup.controllers`) };
  } catch (error) {
    return { unavailable: `control groups can't be examined: ${(error as Error).message}` };
  }
}

/** The words of a one-line file, such as cgroup.controllers. */
export async function readWords(path: string): Promise<string[]> {
  const text = await readFile(path, "utf8");
  return text.split(/\s+/).filter((word) => word !== "");
}

/** mountinfo writes blanks and backslashes as three octal digits. */
function unescapeOctal(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** How long a killed group may take to become empty; measured: under 20 ms. */
const killTimeoutMs = 5000;

/** Signals all processes of a group's directory. */
export type SignalGroup = (directory: string, signal: "SIGTERM" | "SIGKILL") => Promise<void>;

export class Cgroup {
  readonly directory: string;
  readonly #signalGroup: SignalGroup | undefined;

  /** @param signalGroup for processes that this one may not signal */
  constructor(directory: string, signalGroup?: SignalGroup) {
    this.directory = directory;
    this.#signalGroup = signalGroup;
  }

  /** Writes a file of the group, such as ("pids.max", "100"). Returns the reason of a failure. */
  async set(file: string, value: string): Promise<string | undefined> {
    return await writeFile(`${this.directory}/${file}`, value).then(() => undefined, reason);
  }

  /** How often the kernel killed a process here at the memory limit. */
  get oomKills(): number {
    const text = readText(`${this.directory}/memory.events`);
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
  }

  /** The living processes here and in the groups below, which a job can create. */
  async processes(): Promise<FoundProcess[]> {
    for (let look = 0; look < 20; look++) {
      const found = await describePids(this.#pids());
      // A process that forks and exits between listing and describing is missed: look again.
      if (found.length > 0 || !this.#populated) return found;
    }
    return [];
  }

  /**
   * Signals every process that is here now, and not those that they start because of it, such as the commands of a shell's
   * trap.
   */
  async signal(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    if (this.#signalGroup) return this.#signalGroup(this.directory, signal);
    for (const stat of this.#pids().map(readStat)) if (stat && !isDead(stat)) signalProcess(stat, signal);
  }

  /** Kills every process and waits until they are gone. Returns those that are still alive after 5 s, normally none. */
  async kill(): Promise<FoundProcess[]> {
    if (!this.#populated) return [];
    const refused = await this.set("cgroup.kill", "1");
    // Linux before 5.14 has no cgroup.kill; the next round catches processes that were forked meanwhile.
    for (let round = 0; refused && round < 100 && this.#populated; round++) await this.signal("SIGKILL");
    return (await this.emptied(killTimeoutMs)) ? [] : await this.processes();
  }

  /** Waits until no process is left; the kernel notifies us. False: the time is over, or the signal aborted. */
  async emptied(timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    if (!this.#populated) return true;
    const bound = AbortSignal.timeout(Math.min(timeoutMs, 0x7fffffff));
    const watcher = watch(`${this.directory}/cgroup.events`);
    try {
      const changes = on(watcher, "change", { signal: signal ? AbortSignal.any([bound, signal]) : bound });
      if (!this.#populated) return true;
      for await (const _ of changes) {
        if (!this.#populated) return true;
      }
    } catch (error) {
      if (!(error instanceof Error && error.name === "AbortError")) throw error;
    } finally {
      watcher.close();
    }
    return !this.#populated;
  }

  /** Removes the group and those below it. Returns the reason of a failure (EBUSY: a process lives there). */
  async remove(): Promise<string | undefined> {
    for (const below of subgroups(this.directory)) await new Cgroup(below).remove();
    const refused = await rmdir(this.directory).then(() => undefined, reason);
    return refused === "ENOENT" ? undefined : refused;
  }

  get #populated(): boolean {
    return /^populated 1$/m.test(readText(`${this.directory}/cgroup.events`));
  }

  #pids(): number[] {
    const text = readText(`${this.directory}/cgroup.procs`);
    const pids = text
      .split("\n")
      .map(Number)
      .filter((pid) => pid > 0);
    for (const below of subgroups(this.directory)) pids.push(...new Cgroup(below).#pids());
    return pids;
  }
}

/** Empty when the group is gone. Reading takes no lock of the kernel that a migration holds, unlike anything that changes groups. */
function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ENODEV"].includes(reason(error))) return "";
    throw error;
  }
}

/** The directories of a group's direct subgroups. */
export function subgroups(directory: string): string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => `${directory}/${entry.name}`);
  } catch {
    return [];
  }
}
