/**
 * Which files of a workspace are a build's own: those that changed while it ran. The time of the last change (ctime) counts, since
 * no program can set it: a file that is copied with its old time, touched, renamed or unpacked is the build's, and a link is as old
 * as the file it leads to.
 */
import { closeSync, constants, fstatSync, futimesSync, openSync } from "node:fs";
import { quote } from "./find.ts";

/** By the clock of the workspace's file system, in nanoseconds of Unix time. */
export interface BuildPeriod {
  readonly from: bigint;
  /** Later changes are of a time when the clock was ahead; absent: it can't be said. */
  readonly to?: bigint;
  /** Of files that this agent has changed since, by inode: when they had changed last. */
  readonly changed?: ReadonlyMap<bigint, bigint>;
}

const second = 1_000_000_000n;
/** How far both clocks may drift apart before one of them was set. */
const tolerance = second;
/** What a process changes that outlived the build is left to count. */
const grace = 60n * second;

/** @internal */
export function isOwnFile({ from, to }: BuildPeriod, { ctimeNs }: { readonly ctimeNs: bigint }): boolean {
  return ctimeNs >= from && (to === undefined || ctimeNs <= to);
}

/**
 * Begins a period; call it before anything is written to the workspace.
 * @returns ends the period; someone may have set the clock meanwhile
 */
export function beginPeriod(workspace: string): () => BuildPeriod {
  const from = fileClock(workspace);
  const begun = performance.now();
  return () => {
    const elapsed = BigInt(Math.round((performance.now() - begun) * 1e6));
    try {
      return periodOf(from, fileClock(workspace), elapsed);
    } catch {
      return periodOf(from, from + elapsed, elapsed);
    }
  };
}

/**
 * @param elapsed by a clock that nobody sets
 * @internal
 */
export function periodOf(from: bigint, now: bigint, elapsed: bigint): BuildPeriod {
  const isSetBack = now - from < elapsed - tolerance;
  return isSetBack ? { from: now - elapsed } : { from, to: now + grace };
}

const maxNamed = 20;

/** The files that are older than the build. */
export class OldFiles {
  readonly #period: BuildPeriod | undefined;
  readonly #keeps: boolean;
  readonly #paths = new Set<string>();

  /** @param parts.period absent: there are no old files */
  constructor({ period, stale = "skip" }: { period?: BuildPeriod; stale?: "skip" | "keep" }) {
    this.#period = period;
    this.#keeps = stale === "keep";
  }

  leavesOut(path: string, { ino, ctimeNs }: { readonly ino: bigint; readonly ctimeNs: bigint }): boolean {
    if (!this.#period) return false;
    if (isOwnFile(this.#period, { ctimeNs: this.#period.changed?.get(ino) ?? ctimeNs })) return false;
    this.#paths.add(path);
    return !this.#keeps;
  }

  has(path: string): boolean {
    return this.#paths.has(path);
  }

  /** A warning that names them; empty when there are none. */
  get lines(): string[] {
    const names = [...this.#paths].slice(0, maxNamed).map(quote);
    const more = this.#paths.size - names.length;
    if (names.length === 0) return [];
    const which = `older than this build: ${names.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
    return [this.#keeps ? `kept, though ${which}` : `left out, since ${which} (stale: keep would keep them)`];
  }
}

/** What time it is for the file system of a folder: another machine's, perhaps. */
function fileClock(folder: string): bigint {
  const handle = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    const now = new Date();
    futimesSync(handle, now, now);
    return fstatSync(handle, { bigint: true }).ctimeNs;
  } finally {
    closeSync(handle);
  }
}
