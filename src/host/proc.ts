/** Reads processes out of /proc; a process that is gone, or isn't ours to look at, is simply not there. Source: proc(5). */
import { readdir, readFile, readlink } from "node:fs/promises";
import { reason } from "#/lib/errors.ts";

/** A process as a person wants it named. */
export interface FoundProcess {
  readonly pid: number;
  /** The command line, printable and cut to 200 characters; in brackets the bare name where there is none. */
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
  /** Clock ticks from boot to the start: with the pid it names a process for ever, since pids are reused. */
  readonly started: number;
}

/** USER_HZ: 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;

/** The text of /proc/PID/stat; the name in it may contain blanks and parentheses. Undefined: not such a text. */
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

/** One process; undefined when there is none (any more). A zombie is still there. */
export async function readStat(pid: number): Promise<ProcessStat | undefined> {
  const text = await readText(`/proc/${pid}/stat`);
  return text === undefined ? undefined : parseStat(text);
}

/** Every process of the system that may be seen. */
export async function listProcesses(): Promise<ProcessStat[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const stats = await fewAtATime(pids, (pid) => readStat(Number(pid)));
  return stats.filter((stat) => stat !== undefined);
}

/**
 * The text of a file of a process; undefined when it is gone, or not ours to look at.
 * @throws the system's error when we have no file descriptor to look with: that says nothing of the process
 */
async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "latin1");
  } catch (error) {
    if (["EMFILE", "ENFILE"].includes(reason(error))) throw error;
    return undefined;
  }
}

/** How many files are open at one time. */
const few = 8;

async function fewAtATime<Item, Result>(items: readonly Item[], read: (item: Item) => Promise<Result>) {
  const results: Result[] = [];
  for (let at = 0; at < items.length; at += few)
    results.push(...(await Promise.all(items.slice(at, at + few).map(read))));
  return results;
}

/** Whether a process has ended, though its parent may not have looked yet. */
export const isDead = (stat: ProcessStat): boolean => stat.state === "Z" || stat.state === "X";

/**
 * The value of a variable in the environment a process was started with; undefined: not set, or not to be seen.
 * What the process changed since isn't there.
 */
export async function environmentValue(pid: number, name: string): Promise<string | undefined> {
  const text = (await readText(`/proc/${pid}/environ`)) ?? "";
  const entry = text.split("\0").find((one) => one.startsWith(`${name}=`));
  return entry?.slice(name.length + 1);
}

/** Where a process stands; undefined when that can't be seen. */
export async function workingDirectory(pid: number): Promise<string | undefined> {
  return await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
}

/** What a process has open as its stdout and stderr, as far as that can be seen. */
export async function outputsOf(pid: number): Promise<string[]> {
  const links = await Promise.all(
    [1, 2].map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => undefined)),
  );
  return links.filter((link) => link !== undefined);
}

/** Names a process for a record. Control characters become "?": a command line is text from outside. */
export async function describeProcess(stat: ProcessStat): Promise<FoundProcess> {
  const line = await readFile(`/proc/${stat.pid}/cmdline`, "utf8").catch(() => "");
  const words = line.slice(0, 1000).replace(/\0+$/, "").replaceAll("\0", " ");
  const command = (words || `[${stat.name}]`).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "?").slice(0, 200);
  const since = new Date((await bootTime()) + (stat.started / ticksPerSecond) * 1000);
  return { pid: stat.pid, command, since };
}

/** Names those of the pids that still live. */
export async function describePids(pids: Iterable<number>): Promise<FoundProcess[]> {
  const stats = await fewAtATime([...pids], readStat);
  const living = stats.filter((stat) => stat !== undefined).filter((stat) => !isDead(stat));
  return await fewAtATime(living, describeProcess);
}

/** Clock ticks since boot, as of now. */
export async function ticksNow(): Promise<number> {
  const text = await readFile("/proc/uptime", "latin1");
  return Math.floor(Number.parseFloat(text) * ticksPerSecond);
}

async function bootTime(): Promise<number> {
  const text = await readFile("/proc/stat", "latin1");
  return Number(/^btime (\d+)$/m.exec(text)?.[1] ?? 0) * 1000;
}

/** Signals a process, unless its pid has passed to another one meanwhile. False: it is gone, or not ours to signal. */
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
