/** All builds of the box: the running ones, and the finished ones in `STATE/builds/JOB/NUMBER/`. */
import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { jobFolder } from "#/lib/job-folder.ts";
import { Build } from "./build.ts";
import { BuildError } from "./errors.ts";
import { type BuildFilter, matches } from "./filter.ts";
import { removeIndex, type Stamp, stampOfRecord, writeIndex } from "./index.ts";
import { loadBuilds } from "./load.ts";
import {
  type BuildRecord,
  type BuildSummary,
  blankUndelivered,
  durationOf,
  readRecord,
  summarize,
  writeRecord,
} from "./record.ts";
import { removeTree } from "./workspace/remove.ts";

/** Which build: by its Gearman unique, or by job and number. */
export type Selector = { readonly uuid: string } | { readonly job: string; readonly number: number };

/** A build of the box, running or finished. */
export interface FoundBuild {
  readonly job: string;
  readonly number: number;
  /** Where it is on disk; a build that just began, or that met a full disk, may not be there. */
  readonly folder: string;
  /** Absent: it has ended. */
  readonly running?: Build;
  readonly summary: BuildSummary;
}

/** What the store doesn't fill in itself. */
export type NewBuild = Omit<BuildRecord, "version" | "number" | "url" | "assigned">;

export interface StoreOptions {
  /** `STATE/builds`. */
  readonly folder: string;
  /** The next number of a job, above the floor; it is on disk before it is returned. */
  readonly nextNumber: (job: string, floor: number) => number;
  /** The build's page. */
  readonly url: (job: string, number: number) => string;
  /** Called again and again while many builds are read or removed. */
  readonly onProgress?: () => void;
}

/** How many numbers back an estimate looks. */
const maxEstimateLooks = 1000;
/** How long an ending that couldn't be delivered is kept for its client. */
const undeliveredForMs = 24 * 60 * 60 * 1000;

export class BuildStore extends EventEmitter<{ created: [Build]; ended: [Build] }> {
  readonly #options: StoreOptions;
  readonly #running = new Map<string, Build>();
  readonly #finished = new Map<string, Map<number, BuildSummary>>();
  /** Until when each is kept, by performance.now(): someone may set the clock. */
  readonly #undelivered = new Map<BuildSummary, number>();
  /** Which records the summaries were made of. */
  readonly #stamps = new WeakMap<BuildSummary, Stamp>();
  /** Finished builds whose records couldn't be written: on disk they have no end. */
  readonly #unsaved = new Map<string, Build>();
  /** Records of finished builds are changed one after another. */
  #amending: Promise<void> = Promise.resolve();
  /** The highest number of each job's folders and builds, readable or not. */
  readonly #highest = new Map<string, number>();

  #newestEnd = Number.NEGATIVE_INFINITY;

  private constructor(options: StoreOptions) {
    super();
    this.setMaxListeners(0);
    this.#options = options;
  }

  /**
   * Reads what is on disk, see loadBuilds().
   * @returns the store, the builds that were lost, and a line for each thing that was wrong
   * @throws BuildError STORE when the folder can't be used
   */
  static async open(
    options: StoreOptions,
  ): Promise<{ store: BuildStore; lost: readonly BuildSummary[]; warnings: readonly string[] }> {
    const store = new BuildStore(options);
    const { folder, onProgress = () => {} } = options;
    const { highest, lost, warnings } = await loadBuilds(folder, {
      index: store.#index,
      onBuild: (summary, stamp) => store.#remember(summary, stamp),
      onProgress,
    });
    for (const [job, number] of highest) store.#highest.set(job, number);
    return { store, lost, warnings };
  }

  /** When the last of the builds that it has known ended (Unix time in milliseconds); -Infinity: there was none. */
  get newestEnd(): number {
    return this.#newestEnd;
  }

  get #index(): string {
    return `${this.#options.folder}.index`;
  }

  #remember(summary: BuildSummary, stamp: Stamp | undefined): void {
    const { job, number } = summary;
    const ended = Date.parse(summary.ended ?? "");
    if (ended > this.#newestEnd) this.#newestEnd = ended;
    if (stamp) this.#stamps.set(summary, stamp);
    if (summary.undelivered) {
      const age = Math.max(0, Date.now() - ended);
      this.#undelivered.set(summary, performance.now() + undeliveredForMs - age);
    }
    const ofJob = this.#finished.get(job) ?? new Map<number, BuildSummary>();
    this.#finished.set(job, ofJob.set(number, summary));
  }

  /**
   * A new build with the job's next number. Nothing is on disk until `Build.open()`.
   * @throws the state store's error when the number can't be saved
   */
  create(facts: NewBuild): Build {
    const number = this.#options.nextNumber(facts.job, this.#highest.get(facts.job) ?? 0);
    this.#highest.set(facts.job, number);
    const url = this.#options.url(facts.job, number);
    const assigned = new Date().toISOString();
    const folder = this.folder(facts.job, number);
    const build = new Build(folder, { version: 1, number, url, assigned, ...facts });
    this.#running.set(build.title, build);
    build.once("ended", () => {
      this.#running.delete(build.title);
      this.#remember(summarize(build.record), build.saved ? stampOfRecord(build.folder) : undefined);
      if (!build.saved) this.#unsaved.set(build.title, build);
      this.emit("ended", build);
    });
    this.emit("created", build);
    return build;
  }

  /** The build's page. */
  url(job: string, number: number): string {
    return this.#options.url(job, number);
  }

  /** Where a build is on disk. */
  folder(job: string, number: number): string {
    return join(this.#options.folder, jobFolder(job), String(number));
  }

  get running(): readonly Build[] {
    return [...this.#running.values()];
  }

  /** How many finished builds have an ending that their clients may not have got. */
  get undelivered(): number {
    return this.#undelivered.size;
  }

  /** The running build that a selector means; of several with the same uuid the last. */
  findRunning(selector: Selector): Build | undefined {
    return this.runningOf(selector).at(-1);
  }

  /** One uuid can have several builds: with another function or argument it is another one. */
  runningOf(selector: Selector): readonly Build[] {
    if (!("job" in selector))
      return this.running.filter(({ record }) => isSameUuid(record.uuid, selector.uuid));
    const build = this.#running.get(`${selector.job}#${selector.number}`);
    return build ? [build] : [];
  }

  /** Finished builds, the newest first, of one job or of all. */
  finished(job?: string): BuildSummary[] {
    const jobs = [...this.#finished].filter(([name]) => job === undefined || name === job);
    return jobs.flatMap(([, builds]) => [...builds.values()]).sort((a, b) => compareAge(a, b, job));
  }

  /** The build that a selector means, running or finished; of several with the same uuid the last. */
  find(selector: Selector): FoundBuild | undefined {
    const running = this.findRunning(selector);
    if (running) return this.#found(summarize(running.record), running);
    const summary =
      "job" in selector
        ? this.#finished.get(selector.job)?.get(selector.number)
        : this.#newestOf(selector.uuid);
    return summary && this.#found(summary);
  }

  #newestOf(uuid: string): BuildSummary | undefined {
    let newest: BuildSummary | undefined;
    for (const builds of this.#finished.values()) {
      for (const build of builds.values())
        if (isSameUuid(build.uuid, uuid) && (!newest || compareAge(build, newest, undefined) < 0))
          newest = build;
    }
    return newest;
  }

  /** Running and finished builds, the newest first, that match a filter. */
  list(filter: BuildFilter = {}): FoundBuild[] {
    const { job } = filter;
    const running = this.running.map((build) => this.#found(summarize(build.record), build));
    const all = [...running, ...this.finished(job).map((summary) => this.#found(summary))];
    return all
      .filter(({ summary, running }) => matches(summary, running !== undefined, filter))
      .sort((a, b) => compareAge(a.summary, b.summary, job));
  }

  #found(summary: BuildSummary, running?: Build): FoundBuild {
    const { job, number } = summary;
    return { job, number, folder: this.folder(job, number), summary, ...(running && { running }) };
  }

  /** The median in milliseconds of the last ten passed builds of a job on nodes with the same labels; undefined: none. */
  estimate(job: string, labels: readonly string[]): number | undefined {
    const builds = this.#finished.get(job);
    const newest = this.#highest.get(job) ?? 0;
    const found: BuildSummary[] = [];
    for (let number = newest; number > newest - maxEstimateLooks && found.length < 10; number--) {
      const build = builds?.get(number);
      if (build?.ending?.kind === "passed" && build.labels.join() === labels.join()) found.push(build);
    }
    const durations = found
      .map((build) => durationOf(build) ?? 0)
      .filter((duration) => duration > 0)
      .sort((a, b) => a - b);
    return durations[Math.floor(durations.length / 2)];
  }

  /**
   * Sets the description of a build, running or finished.
   * @returns false when there is no such build
   */
  async describe(selector: Selector, html: string): Promise<boolean> {
    const found = this.find(selector);
    if (!found) return false;
    if (found.running) await found.running.describe(html);
    else
      await this.#amend(found.summary, (record) => {
        record.description = html;
      });
    return true;
  }

  /**
   * The finished build of this uuid and request whose ending the client may not have got. After a day, a uuid that comes again
   * means a new build: some clients use the same one for all their builds.
   */
  findUndelivered(uuid: string, request: string): BuildSummary | undefined {
    const kept = [...this.#undelivered].findLast(
      ([build, until]) => build.uuid === uuid && build.request === request && until >= performance.now(),
    );
    return kept?.[0];
  }

  /**
   * Records that a finished build's client has got the ending.
   * @throws the file system's error; the store remembers it until the agent ends
   */
  async setDelivered(job: string, number: number): Promise<void> {
    const build = this.#finished.get(job)?.get(number);
    if (!build || !this.#undelivered.delete(build)) return;
    delete build.undelivered;
    const forget = (record: BuildRecord) => {
      delete record.undelivered;
    };
    try {
      await this.#amend(build, forget, blankUndelivered);
    } catch (error) {
      // The build never got a folder.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  /** @param inPlace does the same to the record in a folder, if it can */
  #amend(
    summary: BuildSummary,
    change: (record: BuildRecord) => void,
    inPlace: (folder: string) => boolean = () => false,
  ): Promise<void> {
    const { job, number } = summary;
    const amended = this.#amending.then(async () => {
      const unsaved = this.#unsaved.get(`${job}#${number}`);
      if (unsaved) return change(unsaved.record);
      const folder = this.folder(job, number);
      this.#stamps.delete(summary);
      if (!inPlace(folder)) {
        const record = await readRecord(folder);
        change(record);
        // After a crash in here, the next start looks into every folder for what is half-written.
        removeIndex(this.#index);
        await writeRecord(folder, record);
      }
      const stamp = stampOfRecord(folder);
      if (stamp) this.#stamps.set(summary, stamp);
    });
    this.#amending = amended.catch(() => {});
    return amended;
  }

  /**
   * Writes the index of the finished builds, for the next start. Call it after the last build.
   * @throws the file system's error; the next start reads every record then
   */
  async saveIndex(now: () => number = Date.now): Promise<void> {
    await this.#amending;
    const entries = [...this.#finished.values()]
      .flatMap((builds) => [...builds.values()])
      .flatMap((summary) => {
        const stamp = this.#stamps.get(summary);
        return stamp ? [{ stamp, summary }] : [];
      });
    await writeIndex(this.#index, entries, now());
  }

  /**
   * Writes the records that couldn't be written when their builds ended; they are kept in memory until then. A record that still
   * can't be written waits for the next call.
   * @returns how many were written
   */
  saveRest(): Promise<number> {
    const saved = this.#amending.then(async () => {
      let count = 0;
      for (const build of this.#unsaved.values()) {
        try {
          await build.save();
        } catch {
          continue;
        }
        this.#unsaved.delete(build.title);
        count += 1;
      }
      return count;
    });
    this.#amending = saved.then(() => {});
    return saved;
  }

  /**
   * Removes each job's builds beyond the newest `keep`, and all that ended before `since` (Unix time in milliseconds).
   * @throws BuildError PRUNE when some can't be removed; the others are
   */
  async prune(keep: number, since: number): Promise<void> {
    const failures: string[] = [];
    for (const builds of [...this.#finished.values()]) {
      const kept = builds.size > keep ? [...builds.keys()].sort((a, b) => b - a)[keep - 1] : 0;
      const old = [...builds.values()].filter(
        ({ number, ended }) => keep === 0 || number < (kept ?? 0) || Date.parse(ended ?? "") < since,
      );
      for (const build of old) {
        this.#options.onProgress?.();
        await this.remove(build).catch((error: Error) => failures.push(error.message));
      }
    }
    if (failures.length === 0) return;
    throw new BuildError(
      "PRUNE",
      `${failures.length} old builds can't be removed; the first failure is: ${failures[0]}`,
    );
  }

  /**
   * Removes a finished build.
   * @throws the file system's error
   */
  async remove(build: BuildSummary): Promise<void> {
    const ofJob = this.#finished.get(build.job);
    if (!ofJob?.delete(build.number)) return;
    await this.#amending;
    // Renamed first: after a crash no half of a build looks like a whole one.
    const aside = join(this.#options.folder, jobFolder(build.job), `.old-${randomUUID()}`);
    try {
      await rename(this.folder(build.job, build.number), aside);
    } catch (error) {
      // ENOENT: it met a full disk and was never stored, or someone removed it by hand.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        ofJob.set(build.number, build);
        throw error;
      }
    }
    this.#undelivered.delete(build);
    this.#unsaved.delete(`${build.job}#${build.number}`);
    await removeTree(aside);
  }
}

/** gearmand passes on 63 of 64 characters of a unique. */
function isSameUuid(uuid: string, wanted: string): boolean {
  return uuid === wanted || (wanted.length === 64 && uuid === wanted.slice(0, 63));
}

/** The newest first. A job's numbers are right even when the clock was wrong; between jobs there is only the clock. */
function compareAge(a: BuildSummary, b: BuildSummary, job: string | undefined): number {
  // ISO 8601 in UTC: times compare as text.
  if (job === undefined && a.assigned !== b.assigned) return a.assigned < b.assigned ? 1 : -1;
  return b.number - a.number;
}
