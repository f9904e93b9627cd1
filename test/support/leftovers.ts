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

/** Files and folders that were being written or removed; a job's own are its own business. */
export function halfWritten(stateDir: string): string[] {
  if (!existsSync(stateDir)) return [];
  return readdirSync(stateDir, { recursive: true, encoding: "utf8" })
    .filter((path) => !path.startsWith(`workspaces${sep}`) && !path.split(sep).includes("artifacts"))
    .filter((path) => /(^|[/.])(new|old)-[^/]*$|\.tmp-[^/]*$/.test(path));
}

/** What a process has open, by kind: sockets, pipes and files. The event loop's own are left out: they come with their use. */
export function descriptors(pid: number | undefined): Record<"sockets" | "pipes" | "files", number> {
  const folder = `/proc/${pid}/fd`;
  const links = readdirSync(folder).map((fd) => quietly(() => readlinkSync(join(folder, fd))) ?? "");
  const count = (start: string) => links.filter((link) => link.startsWith(start)).length;
  return { sockets: count("socket:"), pipes: count("pipe:"), files: count("/") };
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
