/**
 * The leases that this user's other processes hold, each with its key in a file that only the user reads. A file is there for as long
 * as its lease runs; one of a process that was killed is removed by the next lease or order.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir, hostname } from "node:os";
import { join } from "node:path";
import type { GateBuild } from "#/client/gate.ts";
import { BuildKey } from "#/exchange/key.ts";
import { isSession } from "#/exchange/lease.ts";
import { isCount, isObject, parseObject } from "#/exchange/message.ts";
import type { LeaseAddress } from "./holder.ts";

export interface KeptLease extends LeaseAddress {
  readonly key: BuildKey;
  /** Absent: it was asked for at a job server. */
  readonly gate?: { readonly url: string; readonly build: GateBuild };
}

/** Keeps it until it is disposed of. @throws Error the folder can't be written to */
export function keepLease({ key, ...lease }: KeptLease): Disposable {
  const folder = leasesFolder();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  removeDead(folder);
  const file = join(folder, `${prefix()}${lease.session}.json`);
  const content = { ...lease, pid: process.pid, key: key.export() };
  // There as a whole or not at all: what can't be read is removed.
  writeFileSync(`${file}.new`, `${JSON.stringify(content)}\n`, { flag: "wx", mode: 0o600 });
  renameSync(`${file}.new`, file);
  return { [Symbol.dispose]: () => rmSync(file, { force: true }) };
}

/** Those whose process still runs. */
export function keptLeases(): KeptLease[] {
  const folder = leasesFolder();
  removeDead(folder);
  return namesIn(folder).flatMap((name) => readLease(join(folder, name)) ?? []);
}

function removeDead(folder: string): void {
  for (const name of namesIn(folder)) {
    const file = join(folder, name);
    if (!readLease(file)) rmSync(file, { force: true });
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => name.startsWith(prefix()) && name.endsWith(".json"));
  } catch {
    return [];
  }
}

/** @returns undefined: it is of no use any more */
function readLease(file: string): KeptLease | undefined {
  try {
    const { manager, number, session, device, pid, key, gate } = parseObject(readFileSync(file));
    const isSound = typeof manager === "string" && typeof device === "string" && typeof key === "string";
    if (!isSound || !isCount(number) || !isSession(session) || !isCount(pid) || !isAlive(pid))
      return undefined;
    return {
      ...{ manager, number, session, device, key: BuildKey.import(key) },
      ...(isObject(gate) && { gate: gate as unknown as NonNullable<KeptLease["gate"]> }),
    };
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Hosts may share a home. */
function prefix(): string {
  return `${hostname()}-`;
}

function leasesFolder(): string {
  const { XDG_RUNTIME_DIR: runtime, XDG_STATE_HOME: state } = process.env;
  return join(runtime || state || join(homedir(), ".local/state"), "labgear/leases");
}
