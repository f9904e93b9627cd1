/** Reads processes from /proc. A process that is gone, or that we can't read, counts as absent. Source: proc(5). */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
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
export function readStat(pid: number): ProcessStat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch (error) {
    refuseShortage(error);
    return undefined;
  }
}

/** All visible processes of the system. */
export function listPids(): number[] {
  return readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));
}

/** The pid that was given out last, by all of the system (proc_loadavg(5)). */
export function lastPid(): number {
  return Number(readFileSync("/proc/loadavg", "latin1").trim().split(" ").at(-1));
}

/** How many processes are read in one turn: each takes some ten microseconds. */
const maxReadAtOnce = 100;

/** Every visible process of the system. */
export async function listProcesses(): Promise<ProcessStat[]> {
  const pids = listPids();
  const stats: (ProcessStat | undefined)[] = [];
  for (let at = 0; at < pids.length; at += maxReadAtOnce) {
    if (at > 0) await setImmediate();
    stats.push(...pids.slice(at, at + maxReadAtOnce).map(readStat));
  }
  return stats.filter((stat) => stat !== undefined);
}

/** @throws the error when there is no file descriptor left: that says nothing about a process */
function refuseShortage(error: unknown): void {
  if (["EMFILE", "ENFILE"].includes(reason(error))) throw error;
}

/**
 * The text of a file that takes the lock of the process's memory, and so may take as long as a page that it waits for; undefined
 * when the process is gone, or we can't read it.
 * @throws the system's error when there is no file descriptor left
 */
async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "latin1");
  } catch (error) {
    refuseShortage(error);
    return undefined;
  }
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
export function workingDirectory(pid: number): string | undefined {
  return linkOf(`/proc/${pid}/cwd`);
}

/** The paths of a process's open files, of the first thousand; none: not readable. */
export function openFilesOf(pid: number): string[] {
  try {
    const names = readdirSync(`/proc/${pid}/fd`).slice(0, 1000);
    return names.map((name) => linkOf(`/proc/${pid}/fd/${name}`)).filter((link) => link !== undefined);
  } catch {
    return [];
  }
}

/** What a process has open as its stdout and stderr, as far as we can read it. */
export function outputsOf(pid: number): string[] {
  return [1, 2].map((fd) => linkOf(`/proc/${pid}/fd/${fd}`)).filter((link) => link !== undefined);
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** Describes a process for a record. Control characters become "?": a command line is untrusted text. */
export async function describeProcess(stat: ProcessStat): Promise<FoundProcess> {
  const line = await readFile(`/proc/${stat.pid}/cmdline`, "utf8").catch(() => "");
  const words = line.slice(0, 1000).replace(/\0+$/, "").replaceAll("\0", " ");
  const command = (words || `[${stat.name}]`).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "?").slice(0, 200);
  const since = new Date(bootTime() + (stat.started / ticksPerSecond) * 1000);
  return { pid: stat.pid, command, since };
}

/** Describes the processes that are still alive. */
export async function describePids(pids: Iterable<number>): Promise<FoundProcess[]> {
  const stats = [...pids].map(readStat);
  const living = stats.filter((stat) => stat !== undefined).filter((stat) => !isDead(stat));
  return await Promise.all(living.map(describeProcess));
}

/** Clock ticks since boot. */
export function ticksNow(): number {
  const text = readFileSync("/proc/uptime", "latin1");
  return Math.floor(Number.parseFloat(text) * ticksPerSecond);
}

function bootTime(): number {
  const text = readFileSync("/proc/stat", "latin1");
  return Number(/^btime (\d+)$/m.exec(text)?.[1] ?? 0) * 1000;
}

/** Signals a process, unless its pid now belongs to another one. False: it is gone, or we aren't allowed to. */
export function signalProcess(target: Pick<ProcessStat, "pid" | "started">, signal: NodeJS.Signals): boolean {
  const now = readStat(target.pid);
  if (now?.started !== target.started) return false;
  try {
    return process.kill(target.pid, signal);
  } catch {
    return false;
  }
}
