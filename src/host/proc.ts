/** Reads processes from /proc. A process that is gone, or that we can't read, counts as absent. Source: proc(5). */
import { readdir, readFile, readlink } from "node:fs/promises";
import { reason } from "#/lib/errors.ts";

/** A process, for people. */
export interface FoundProcess {
  readonly pid: number;
  /** The command line, printable, 200 characters at most; without one, the name in brackets. */
  readonly command: string;
  /** When it started. */
  readonly since: Date;
}

export interface ProcessStat {
  readonly pid: number;
  readonly name: string;
  /** One letter; Z and X are dead. */
  readonly state: string;
  readonly parent: number;
  /** The process group. */
  readonly group: number;
  readonly session: number;
  /** Clock ticks from boot to the start: pids are reused, but pid and start together are unique. */
  readonly started: number;
}

/** USER_HZ is 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;

/**
 * @param text of /proc/PID/stat; the name in it can contain blanks and parentheses. Undefined: it is another text.
 * @internal
 */
export function parseStat(text: string): ProcessStat | undefined {
  const open = text.indexOf("(");
  const close = text.lastIndexOf(")");
  const fields = text.slice(close + 2).split(" ");
  const [state, parent, group, session] = fields;
  const started = Number(fields[19]);
  if (open < 0 || close < open || !state || !Number.isFinite(started)) return undefined;
  return {
    pid: Number.parseInt(text, 10),
    name: text.slice(open + 1, close),
    state,
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    started,
  };
}

/** Undefined: there is no such process (any more). A zombie still counts. */
export async function readStat(pid: number): Promise<ProcessStat | undefined> {
  const text = await readText(`/proc/${pid}/stat`);
  return text === undefined ? undefined : parseStat(text);
}

/** Every visible process of the system. */
export async function listProcesses(): Promise<ProcessStat[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const stats = await fewAtATime(pids, (pid) => readStat(Number(pid)));
  return stats.filter((stat) => stat !== undefined);
}

/**
 * The text of a process's file; undefined when the process is gone, or we can't read it.
 * @throws the system's error when there is no file descriptor left: that says nothing about the process
 */
async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "latin1");
  } catch (error) {
    if (["EMFILE", "ENFILE"].includes(reason(error))) throw error;
    return undefined;
  }
}

const maxOpenFiles = 8;

async function fewAtATime<Item, Result>(items: readonly Item[], read: (item: Item) => Promise<Result>) {
  const results: Result[] = [];
  for (let at = 0; at < items.length; at += maxOpenFiles)
    results.push(...(await Promise.all(items.slice(at, at + maxOpenFiles).map(read))));
  return results;
}

/** Whether a process has ended, even if its parent hasn't waited for it. */
export const isDead = (stat: ProcessStat): boolean => stat.state === "Z" || stat.state === "X";

/**
 * The value of a variable in the environment that a process was started with; undefined: not set, or not readable.
 */
export async function environmentValue(pid: number, name: string): Promise<string | undefined> {
  const text = (await readText(`/proc/${pid}/environ`)) ?? "";
  const entry = text.split("\0").find((one) => one.startsWith(`${name}=`));
  return entry?.slice(name.length + 1);
}

/** Undefined: not readable. */
export async function workingDirectory(pid: number): Promise<string | undefined> {
  return await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
}

/** The paths of a process's open files, of the first thousand; none: not readable. */
export async function openFilesOf(pid: number): Promise<string[]> {
  const names = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const links = await fewAtATime(names.slice(0, 1000), (fd) =>
    readlink(`/proc/${pid}/fd/${fd}`).catch(() => undefined),
  );
  return links.filter((link) => link !== undefined);
}

/** What a process has open as its stdout and stderr, as far as we can read it. */
export async function outputsOf(pid: number): Promise<string[]> {
  const links = await Promise.all(
    [1, 2].map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => undefined)),
  );
  return links.filter((link) => link !== undefined);
}

/** Describes a process for a record. Control characters become "?": a command line is untrusted text. */
export async function describeProcess(stat: ProcessStat): Promise<FoundProcess> {
  const line = await readFile(`/proc/${stat.pid}/cmdline`, "utf8").catch(() => "");
  const words = line.slice(0, 1000).replace(/\0+$/, "").replaceAll("\0", " ");
  const command = (words || `[${stat.name}]`).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "?").slice(0, 200);
  const since = new Date((await bootTime()) + (stat.started / ticksPerSecond) * 1000);
  return { pid: stat.pid, command, since };
}

/** Describes the processes that are still alive. */
export async function describePids(pids: Iterable<number>): Promise<FoundProcess[]> {
  const stats = await fewAtATime([...pids], readStat);
  const living = stats.filter((stat) => stat !== undefined).filter((stat) => !isDead(stat));
  return await fewAtATime(living, describeProcess);
}

/** Clock ticks since boot. */
export async function ticksNow(): Promise<number> {
  const text = await readFile("/proc/uptime", "latin1");
  return Math.floor(Number.parseFloat(text) * ticksPerSecond);
}

async function bootTime(): Promise<number> {
  const text = await readFile("/proc/stat", "latin1");
  return Number(/^btime (\d+)$/m.exec(text)?.[1] ?? 0) * 1000;
}

/** Signals a process, unless its pid now belongs to another one. False: it is gone, or we aren't allowed to. */
export async function signalProcess(
  target: Pick<ProcessStat, "pid" | "started">,
  signal: NodeJS.Signals,
): Promise<boolean> {
  const now = await readStat(target.pid);
  if (now?.started !== target.started) return false;
  try {
    return process.kill(target.pid, signal);
  } catch {
    return false;
  }
}
