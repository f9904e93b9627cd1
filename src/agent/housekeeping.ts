/** Keeps the box fit for builds: old ones are removed by number and age, and none is taken while it can't work. */
import { Calendar } from "#/host/calendar.ts";
import { boxFailure, tryFolder } from "#/host/health.ts";
import { Space, type SpaceOptions } from "./disk-space.ts";

/** How often the box is looked at, in milliseconds: a build that fills the disk has only so long. */
const lookInterval = 1000;
/** How often builds are removed that are too old, in milliseconds; also whenever one has ended. */
const ageInterval = 5 * 60 * 1000;
const day = 24 * 60 * 60 * 1000;

export class Housekeeping implements AsyncDisposable {
  readonly #options: SpaceOptions;
  readonly #space: Space;
  readonly #calendar = new Calendar();
  readonly #timers: readonly NodeJS.Timeout[];
  /** One round after the other: they remove the same things. */
  #rounds: Promise<void> = Promise.resolve();
  #waiting = 0;
  /** The last failure to remove old builds, which is logged once. */
  #complaint: string | undefined;

  /** From here on the node takes no builds, until the first round says that it can. */
  constructor(options: SpaceOptions) {
    this.#options = options;
    this.#space = new Space(options);
    options.builds.on("ended", this.#onEnded);
    this.#timers = [
      setInterval(() => this.#waiting === 0 && void this.#next(() => this.#look()), lookInterval),
      setInterval(() => void this.round(), ageInterval),
    ];
  }

  readonly #onEnded = () => void this.round();

  /** Removes what is old, then looks at the box. Never rejects. */
  round(): Promise<void> {
    return this.#next(async () => {
      await this.#removeOld();
      await this.#look();
    });
  }

  #next(work: () => Promise<void>): Promise<void> {
    this.#waiting += 1;
    this.#rounds = this.#rounds.then(work).finally(() => {
      this.#waiting -= 1;
    });
    return this.#rounds;
  }

  async #removeOld(): Promise<void> {
    const { config, builds, log } = this.#options;
    const { keep, keepDays } = config().builds;
    const ends = builds.finished().map(({ ended }) => Date.parse(ended ?? ""));
    const newest = ends.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const now = this.#calendar.now(newest, keepDays * day);
    try {
      // Without a clock to go by, number alone decides.
      await builds.prune(keep, now === undefined ? Number.NEGATIVE_INFINITY : now - keepDays * day);
      this.#complaint = undefined;
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#complaint) log.error({}, message);
      this.#complaint = message;
    }
  }

  async #look(): Promise<void> {
    await this.#space.look();
    await this.#watchTrouble();
    await this.#saveRest();
  }

  /** A box that can't do what each build needs would fail them as fast as they come. */
  async #watchTrouble(): Promise<void> {
    const { stateDir, nodes, log } = this.#options;
    const wasHeld = nodes.isHeld("trouble");
    try {
      await tryFolder(stateDir, wasHeld);
    } catch (error) {
      const reason = boxFailure(error) ?? (error as Error).message;
      if (!nodes.isHeld("trouble")) log.error({}, `no build is taken: ${reason}`);
      nodes.hold("trouble", reason);
      return;
    }
    // Trouble that a build met during this trial is for the next one, which tries more.
    if (!wasHeld) return;
    log.info({}, "the box is well again: builds are taken");
    nodes.release("trouble");
  }

  async #saveRest(): Promise<void> {
    const { builds, log } = this.#options;
    try {
      const count = await builds.saveRest();
      if (count > 0) log.info({ count }, "the records that couldn't be written are written now");
    } catch {
      // That was said when the build ended, and it is tried again at the next look.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#options.builds.off("ended", this.#onEnded);
    await this.#next(() => this.#saveRest());
  }
}
