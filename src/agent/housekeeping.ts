/** Looks after the box: removes old builds, keeps space free, and takes no builds while the box can't run them. */
import { join } from "node:path";
import type { Mirrors } from "#/builds/checkout/mirrors.ts";
import type { InputCache } from "#/builds/inputs/cache.ts";
import type { BuildStore } from "#/builds/store.ts";
import type { Config } from "#/config/model.ts";
import { pruneHistories } from "#/devices/history.ts";
import type { Log } from "#/lib/log.ts";
import type { WatchedBox } from "./box-health.ts";
import { DiskSpace } from "./disk-space.ts";
import type { Nodes } from "./nodes/node.ts";
import type { Outsiders } from "./outsiders.ts";

/** A build that fills the disk goes unnoticed for so long at most. */
const lookIntervalMs = 1000;
/** How often builds that are too old are removed; also soon after a build has ended. */
const pruneIntervalMs = 5 * 60 * 1000;
const outsidersEnd = "ending what builds left outside";
const dayMs = 24 * 60 * 60 * 1000;

export interface HousekeepingOptions {
  readonly config: () => Config;
  readonly stateDir: string;
  readonly builds: BuildStore;
  readonly mirrors: Mirrors;
  readonly inputs: InputCache;
  readonly nodes: Nodes;
  readonly boxHealth: WatchedBox;
  /** Absent where builds have no users of their own. */
  readonly outsiders?: Outsiders | undefined;
  readonly log: Log;
}

export class Housekeeping implements AsyncDisposable {
  readonly #options: HousekeepingOptions;
  readonly #space: DiskSpace;
  readonly #calendar = new Calendar();
  readonly #timers: readonly NodeJS.Timeout[];
  /** One round after the other: they remove the same things. Never rejects. */
  #rounds: Promise<void> = Promise.resolve();
  #waiting = 0;
  /** A build has ended since the last round. */
  #hasOld = false;
  /** The last failure of each task, which is logged once. */
  readonly #failures = new Map<string, string>();

  /** Looks for the first time when round() is called: until then compose.ts holds the nodes. */
  constructor(options: HousekeepingOptions) {
    this.#options = options;
    this.#space = new DiskSpace(options);
    options.builds.on("ended", this.#onEnded);
    this.#timers = [
      setInterval(() => this.#tick(), lookIntervalMs),
      setInterval(() => void this.round(), pruneIntervalMs),
    ];
  }

  readonly #onEnded = () => {
    this.#hasOld = true;
    const { outsiders } = this.#options;
    if (outsiders) void this.#next(() => this.#attempt(outsidersEnd, () => outsiders.end()));
  };

  /** Not at once after a build: the next one may have begun, and the disk is slow enough. */
  #tick(): void {
    if (this.#waiting > 0) return;
    if (this.#hasOld) void this.round();
    else void this.#next(() => this.#look());
  }

  /** Removes old builds, then looks at the box. Never rejects. */
  round(): Promise<void> {
    this.#hasOld = false;
    return this.#next(async () => {
      await this.#attempt(outsidersEnd, async () => this.#options.outsiders?.end());
      await this.#attempt("removing old builds", () => this.#prune());
      await this.#look();
    });
  }

  /** Removes what an earlier agent could only move aside. Never rejects. */
  sweep(): Promise<void> {
    return this.#next(() => this.#attempt("removing what was moved aside", () => this.#space.sweep()));
  }

  #next(work: () => Promise<void>): Promise<void> {
    this.#waiting += 1;
    this.#rounds = this.#rounds.then(work).finally(() => {
      this.#waiting -= 1;
    });
    return this.#rounds;
  }

  /** A task that fails is tried again in the next round, and keeps no other from its turn. */
  async #attempt(what: string, task: () => Promise<void>): Promise<void> {
    try {
      await task();
      this.#failures.delete(what);
    } catch (error) {
      const { message } = error as Error;
      if (this.#failures.get(what) !== message) this.#options.log.error({}, `${what} failed: ${message}`);
      this.#failures.set(what, message);
    }
  }

  async #prune(): Promise<void> {
    const { config, builds, mirrors, stateDir } = this.#options;
    const { historyMs } = config();
    const { keep, keepDays } = config().builds;
    const now = this.#calendar.now(builds.newestEnd, keepDays * dayMs);
    // Without a clock to trust, number alone decides.
    await builds.prune(keep, now === undefined ? Number.NEGATIVE_INFINITY : now - keepDays * dayMs);
    if (now === undefined) return;
    for (const folder of await mirrors.unused(now - keepDays * dayMs)) await mirrors.remove(folder);
    await pruneHistories(join(stateDir, "devices"), now - historyMs);
  }

  async #look(): Promise<void> {
    await this.#attempt("keeping space free", () => this.#space.look());
    await this.#attempt("checking the box", () => this.#options.boxHealth.recheck());
    await this.#saveRest();
  }

  async #saveRest(): Promise<void> {
    const { builds, log } = this.#options;
    try {
      const count = await builds.saveRest();
      if (count > 0) log.info({ count }, "the records that couldn't be written are written now");
    } catch {
      // The log has it from the build's end; the next look tries again.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#options.builds.off("ended", this.#onEnded);
    await this.#next(() => this.#saveRest());
  }
}

/** A larger step means that the clock was set, or the box slept. */
const maxStepMs = 60 * 60 * 1000;
/** How long a clock in doubt must run evenly to be trusted again. */
const probationMs = 24 * 60 * 60 * 1000;

export interface Clocks {
  /** Unix time in milliseconds, which people and time servers set. */
  readonly wall: () => number;
  /** Milliseconds of a clock that can't be set. */
  readonly monotonic: () => number;
}

const systemClocks: Clocks = { wall: () => Date.now(), monotonic: () => performance.now() };

/**
 * A box without a battery for its clock starts in the past and jumps to the present; if the clock is wrong by years, everything
 * looks too old. So a clock that jumped, or by which everything is too old or in the future, is only trusted after it has run
 * evenly for a day.
 *
 *     trusted ──it jumped, or it is implausible──▶ doubted ──a day without a jump──▶ trusted
 *
 * @internal
 */
export class Calendar {
  readonly #clocks: Clocks;
  /** The wall clock's lead over the monotonic one. */
  #ahead: number | undefined;
  /** By the monotonic clock; undefined: the wall clock is trusted. */
  #doubtedUntil: number | undefined;
  #started = false;

  constructor(clocks: Clocks = systemClocks) {
    this.#clocks = clocks;
  }

  /**
   * The Unix time in milliseconds; undefined while the clock is in doubt.
   * @param newest the newest thing's time; -Infinity when there is none
   * @param maxAgeMs how old things may become
   */
  now(newest: number, maxAgeMs: number): number | undefined {
    const wall = this.#clocks.wall();
    const monotonic = this.#clocks.monotonic();
    const ahead = wall - monotonic;
    const jumped = this.#ahead !== undefined && Math.abs(ahead - this.#ahead) > maxStepMs;
    // Compared with the last call: slow drift and slewing are no jumps.
    this.#ahead = ahead;
    const implausible =
      !this.#started && Number.isFinite(newest) && (newest > wall + maxStepMs || newest < wall - maxAgeMs);
    this.#started = true;
    if (jumped || implausible) this.#doubtedUntil = monotonic + probationMs;
    if (this.#doubtedUntil !== undefined && monotonic < this.#doubtedUntil) return undefined;
    this.#doubtedUntil = undefined;
    return wall;
  }
}
