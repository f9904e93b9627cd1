/** Keeps room for builds: removes old ones by number, age and space, and stops taking work while there is too little. */
import type { BuildStore } from "#/builds/store.ts";
import type { Config } from "#/config/model.ts";
import { formatSize } from "#/config/units.ts";
import { freeSpace } from "#/host/disk.ts";
import type { HostNode } from "#/nodes/host-node.ts";
import type { Log } from "#/nodes/log.ts";

export interface HousekeepingOptions {
  readonly config: () => Config;
  readonly stateDir: string;
  readonly builds: BuildStore;
  readonly node: HostNode;
  readonly log: Log;
}

/** How often the free space is looked at, in milliseconds. */
const interval = 5000;
const day = 24 * 60 * 60 * 1000;

export class Housekeeping implements AsyncDisposable {
  readonly #options: HousekeepingOptions;
  readonly #timer: NodeJS.Timeout;
  /** One round after the other: they remove the same things. */
  #rounds: Promise<void> = Promise.resolve();

  constructor(options: HousekeepingOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.round(), interval);
    options.builds.on("ended", this.#onEnded);
  }

  readonly #onEnded = () => void this.round();

  /** Removes what is old, then looks at the space. Never rejects. */
  round(): Promise<void> {
    this.#rounds = this.#rounds.then(async () => {
      await this.#removeOld();
      await this.#watchSpace();
    });
    return this.#rounds;
  }

  async #removeOld(): Promise<void> {
    const { config, builds, log } = this.#options;
    const { keep, keepDays } = config().builds;
    try {
      await builds.prune(keep, Date.now() - keepDays * day);
    } catch (error) {
      log.error({}, `old builds can't be removed: ${(error as Error).message}`);
    }
  }

  async #watchSpace(): Promise<void> {
    const { config, stateDir, node, builds, log } = this.#options;
    const { minFree } = config().builds;
    let free = await this.#free();
    for (const build of free < minFree ? builds.dispensable() : []) {
      log.info(
        { job: build.job, number: build.number },
        `${build.job}#${build.number} is removed to make room`,
      );
      await builds.remove(build).catch((error) => log.error({}, `no room is made: ${error.message}`));
      free = await this.#free();
      if (free >= minFree) break;
    }
    if (free >= minFree) {
      if (node.holds.has("disk")) log.info({ free }, "there is room again: builds are taken");
      node.release("disk");
      return;
    }
    const reason = `${formatSize(free)} free at ${stateDir}, and min-free is ${formatSize(minFree)}`;
    if (!node.holds.has("disk")) log.warn({ free, minFree }, `no build is taken: ${reason}`);
    node.hold("disk", reason);
  }

  /** A file system that can't be asked has no room. */
  #free(): Promise<number> {
    return freeSpace(this.#options.stateDir).catch(() => 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#options.builds.off("ended", this.#onEnded);
    await this.#rounds;
  }
}
