/** What an agent can leave behind on the box: processes, control groups, half-written files, descriptors. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { detectCgroups } from "#/runners/trees/cgroup.ts";

export interface BuildProcess {
  readonly pid: number;
  readonly command: string;
  /** `JOB#NUMBER`, by its environment; "?" where that says nothing. */
  readonly build: string;
}

/** The living processes that a build below the state directory has to do with, by environment, command line and place. */
export function buildProcesses(stateDir: string): BuildProcess[] {
  const marker = `${stateDir}/`;
  const found: BuildProcess[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    const [stat, line, environment] = ["stat", "cmdline", "environ"].map((file) =>
      quietly(() => readFileSync(`/proc/${pid}/${file}`, "latin1")),
    );
    if (stat === undefined || /^\d+ \(.*\) [ZX]/s.test(stat)) continue;
    const place = quietly(() => `${readlinkSync(`/proc/${pid}/cwd`)}/`);
    if (![line, environment, place].some((text) => text?.includes(marker))) continue;
    const variable = (name: string) => new RegExp(`(?:^|\\0)${name}=([^\\0]*)`).exec(environment ?? "")?.[1];
    const [job, number] = [variable("LABGEAR_JOB"), variable("LABGEAR_BUILD")];
    const build = job && number ? `${job}#${number}` : "?";
    found.push({ pid: Number(pid), command: (line ?? "").replaceAll("\0", " ").trim(), build });
  }
  return found;
}

/** The control groups that belong to the agent of a state directory, as paths below the hierarchy's mount. */
export async function controlGroups(stateDir: string): Promise<string[]> {
  const home = await detectCgroups();
  if ("unavailable" in home) return [];
  const name = `labgear-${createHash("sha256").update(stateDir).digest("hex").slice(0, 16)}`;
  return foldersBelow(home.mount)
    .filter((path) => path.split(sep).includes(name))
    .map((path) => relative(home.mount, path));
}

/** The control groups of builds, without those in which a launcher waits for one. */
export async function buildGroups(stateDir: string): Promise<string[]> {
  const home = await detectCgroups();
  if ("unavailable" in home) return [];
  const isReady = (path: string) => {
    const pids = readFileSync(join(home.mount, path, "cgroup.procs"), "latin1")
      .split("\n")
      .filter(Boolean);
    return pids.length === 1 && isWaiting(Number(pids[0]));
  };
  const groups = (await controlGroups(stateDir)).filter((path) => /\/build-[^/]*$/.test(path));
  return groups.filter((path) => quietly(() => isReady(path)) === false);
}

/** Whether a process is a launcher that has no script yet. */
function isWaiting(pid: number): boolean {
  const words = quietly(() => readFileSync(`/proc/${pid}/cmdline`, "latin1"))?.split("\0") ?? [];
  return words.includes(". /proc/self/fd/4") && words.includes("labgear-launch");
}

/** Files and folders that were being written or removed; a job's own are its own business. */
export function halfWritten(stateDir: string): string[] {
  if (!existsSync(stateDir)) return [];
  return readdirSync(stateDir, { recursive: true, encoding: "utf8" })
    .filter((path) => !path.startsWith(`workspaces${sep}`) && !path.split(sep).includes("artifacts"))
    .filter((path) => /(^|[/.])(new|old)-[^/]*$|\.tmp-[^/]*$/.test(path));
}

/** A waiting launcher has one for what it becomes, and one for its output. */
const launcherPipes = 2;

/**
 * What a process has open, by kind: sockets, pipes and files. The event loop's own are left out: they come with their use; and so
 * are those of launchers that wait.
 */
export function descriptors(pid: number | undefined): Record<"sockets" | "pipes" | "files", number> {
  const folder = `/proc/${pid}/fd`;
  const links = readdirSync(folder).map((fd) => quietly(() => readlinkSync(join(folder, fd))) ?? "");
  const count = (start: string) => links.filter((link) => link.startsWith(start)).length;
  const waiting = readdirSync("/proc").filter(
    (name) => parentOf(name) === pid && isWaiting(Number(name)),
  ).length;
  return {
    sockets: count("socket:"),
    pipes: count("pipe:") - launcherPipes * waiting,
    files: count("/"),
  };
}

function parentOf(pid: string): number | undefined {
  const stat = quietly(() => readFileSync(`/proc/${pid}/stat`, "latin1"));
  return stat === undefined ? undefined : Number(/.*\) \S (\d+)/.exec(stat)?.[1]);
}

/** A line of `/proc/PID/status` that is in kB, such as VmHWM, in bytes. */
export function memory(pid: number | undefined, line: "VmRSS" | "VmHWM"): number {
  const text = readFileSync(`/proc/${pid}/status`, "latin1");
  const kibibytes = new RegExp(`^${line}:\\s+(\\d+) kB`, "m").exec(text)?.[1];
  if (kibibytes === undefined) throw new Error(`no ${line} of process ${pid}`);
  return Number(kibibytes) * 1024;
}

function foldersBelow(folder: string): string[] {
  // Others' groups come and go meanwhile.
  const entries = quietly(() => readdirSync(folder, { withFileTypes: true })) ?? [];
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name));
  return folders.flatMap((path) => [path, ...foldersBelow(path)]);
}

function quietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
