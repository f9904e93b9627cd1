/** Finds what builds have left outside of the agent's unit: processes, and what would start them again. */
import { lstat, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { reason } from "#/lib/errors.ts";
import type { Account } from "./accounts.ts";
import { isDead, listProcesses, type ProcessStat } from "./proc.ts";

/** A process of a build's user that isn't in the unit. */
export interface OutsideProcess {
  readonly user: string;
  readonly stat: ProcessStat;
}

/** @param unit the control group that builds run below, as in /proc/PID/cgroup; undefined: none runs at all */
export async function outsideProcesses(
  accounts: readonly Account[],
  unit: string | undefined,
): Promise<OutsideProcess[]> {
  const users = new Map(accounts.map(({ uid, name }) => [uid, name]));
  const found: OutsideProcess[] = [];
  for (const process of await listProcesses()) {
    const uid = (await stat(`/proc/${process.pid}`).catch(() => undefined))?.uid;
    const user = users.get(uid ?? -1);
    if (user === undefined || isDead(process)) continue;
    const group = await cgroupOf(process.pid);
    if (group === undefined || (unit !== undefined && `${group}/`.startsWith(`${unit}/`))) continue;
    found.push({ user, stat: process });
  }
  return found;
}

/** Its control group of version 2, as /proc shows it; undefined: the process is gone, or there are no such groups. */
async function cgroupOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/cgroup`, "utf8").catch(() => "");
  return /^0::(.*)$/m.exec(text)?.[1];
}

/** The control group of the unit that a process of the agent is in; undefined: it has no control group of its own. */
export async function unitOf(pid: number | "self"): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/cgroup`, "utf8").catch(() => "");
  // Below the unit's group, the agent has made itself one of its own.
  const group = /^0::(.*?)(?:\/labgear-[^/]+\/main)?$/m.exec(text)?.[1];
  return group === "/" ? undefined : group;
}

/** What starts processes for a user, by files of the user's name. Debian, and Red Hat. */
const named = [
  ["a crontab", "var/spool/cron/crontabs"],
  ["a crontab", "var/spool/cron"],
  ["lingering on", "var/lib/systemd/linger"],
] as const;
/** The same, by files that the user owns. */
const owned = ["var/spool/cron/atjobs", "var/spool/at"];

export interface Starters {
  /** One each, such as "labgear-build1 has a crontab: /var/spool/cron/crontabs/labgear-build1". */
  readonly found: readonly string[];
  /** Folders that this process may not look into. */
  readonly hidden: readonly string[];
}

/** Finds crontabs, at jobs, lingering and user units of these users. @param root "/" but for other trees */
export async function findStarters(accounts: readonly Account[], root = "/"): Promise<Starters> {
  const found: string[] = [];
  const hidden = new Set<string>();
  const look = async <T>(folder: string, get: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await get();
    } catch (error) {
      if (["EACCES", "EPERM"].includes(reason(error))) hidden.add(folder);
      return undefined;
    }
  };
  for (const { name, home } of accounts) {
    const places = [
      ...named.map(([what, folder]) => ({ what, folder: join(root, folder), file: name })),
      { what: "user units", folder: join(root, home), file: ".config/systemd/user" },
    ];
    for (const { what, folder, file } of places) {
      const path = join(folder, file);
      if (await look(folder, () => lstat(path))) found.push(`${name} has ${what}: ${path}`);
    }
  }
  const names = new Map(accounts.map(({ uid, name }) => [uid, name]));
  for (const folder of owned.map((path) => join(root, path))) {
    for (const file of (await look(folder, () => readdir(folder))) ?? []) {
      const path = join(folder, file);
      const user = names.get((await look(folder, () => lstat(path)))?.uid ?? -1);
      if (user) found.push(`${user} has a job of at: ${path}`);
    }
  }
  return { found, hidden: [...hidden] };
}
