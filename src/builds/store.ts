/** All builds of the box: the running ones, and the finished ones under `STATE/builds/JOB/NUMBER/`. */
import { EventEmitter } from "node:events";
import { mkdirSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Build } from "./build.ts";
import { BuildError } from "./errors.ts";
import { type BuildRecord, readRecord, recordFile, writeRecord } from "./record.ts";

/** Which build: by its Gearman unique, or by job and number. */
export type Selector = { readonly uuid: string } | { readonly job: string; readonly number: number };

/** What is kept in memory of each build on disk: enough for lists and estimates. */
export type BuildSummary = Pick<
  BuildRecord,
  | "job"
  | "number"
  | "uuid"
  | "node"
  | "target"
  | "labels"
  | "assigned"
  | "started"
  | "ended"
  | "ending"
  | "result"
>;

/** The part of a record that the store fills in itself comes from the caller's facts and the next number. */
export type NewBuild = Omit<BuildRecord, "version" | "number" | "url" | "assigned">;

export interface StoreOptions {
  /** `STATE/builds`. */
  readonly folder: string;
  /** The next number of a job, above the floor, kept before it is given out. */
  readonly nextNumber: (job: string, floor: number) => number;
  /** Where a person can look at a build. */
  readonly url: (job: string, number: number) => string;
}

export class BuildStore extends EventEmitter<{ created: [Build]; ended: [Build] }> {
  readonly #options: StoreOptions;
  readonly #running = new Map<string, Build>();
  readonly #finished = new Map<string, Map<number, BuildSummary>>();
  readonly #byUuid = new Map<string, BuildSummary>();

  private constructor(options: StoreOptions) {
    super();
    this.setMaxListeners(0);
    this.#options = options;
  }

  /**
   * Reads what is there. A build that has no end is recorded as lost; a damaged record is set aside.
   * @returns the store, and a line for each thing that wasn't as it should be
   * @throws BuildError STORE when the folder can't be used at all
   */
  static async open(
    options: StoreOptions,
  ): Promise<{ store: BuildStore; lost: BuildSummary[]; warnings: string[] }> {
    const store = new BuildStore(options);
    const lost: BuildSummary[] = [];
    const warnings: string[] = [];
    try {
      mkdirSync(options.folder, { recursive: true });
      for (const job of await readdir(options.folder)) {
        for (const name of await readdir(join(options.folder, job))) {
          await store.#load(job, name, lost, warnings);
        }
      }
    } catch (cause) {
      const reason = (cause as Error).message;
      throw new BuildError("STORE", `the builds' folder ${options.folder} can't be used: ${reason}`, {
        cause,
      });
    }
    return { store, lost, warnings };
  }

  async #load(job: string, name: string, lost: BuildSummary[], warnings: string[]): Promise<void> {
    const folder = join(this.#options.folder, job, name);
    // What a crash left half made (.new-N) or half removed (.old-N) was never, or is no longer, a build.
    if (/^\.(new|old)-/.test(name)) return rm(folder, { recursive: true, force: true });
    if (!/^[1-9][0-9]*$/.test(name)) return;
    try {
      const record = await readRecord(folder);
      if (!record.ended) {
        record.ended = new Date().toISOString();
        record.ending = { kind: "lost", reason: "the agent ended while the build ran" };
        await writeRecord(folder, record);
        lost.push(record);
      }
      this.#remember(record);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      await rename(recordFile(folder), `${recordFile(folder)}.damaged`);
      warnings.push(
        `${recordFile(folder)} is damaged (${error.message}) and was set aside as build.json.damaged`,
      );
    }
  }

  #remember(record: BuildRecord): void {
    const { job, number, uuid, node, labels, assigned } = record;
    const summary: BuildSummary = {
      ...{ job, number, uuid, node, labels, assigned },
      ...(record.target === undefined ? {} : { target: record.target }),
      ...(record.started === undefined ? {} : { started: record.started }),
      ...(record.ended === undefined ? {} : { ended: record.ended }),
      ...(record.ending === undefined ? {} : { ending: record.ending }),
      ...(record.result === undefined ? {} : { result: record.result }),
    };
    const ofJob = this.#finished.get(job) ?? new Map<number, BuildSummary>();
    this.#finished.set(job, ofJob.set(number, summary));
    this.#byUuid.set(uuid, summary);
  }

  /**
   * A new build with the job's next number. Nothing of it is on disk until `Build.open()`.
   * @throws the state store's error, when the number can't be kept
   */
  create(facts: NewBuild): Build {
    const number = this.#options.nextNumber(facts.job, this.highest(facts.job));
    const url = this.#options.url(facts.job, number);
    const assigned = new Date().toISOString();
    const folder = this.folder(facts.job, number);
    const build = new Build(folder, { version: 1, number, url, assigned, ...facts });
    this.#running.set(build.title, build);
    build.on("changed", () => {
      if (build.state.phase !== "ended" || !this.#running.delete(build.title)) return;
      this.#remember(build.record);
      this.emit("ended", build);
    });
    this.emit("created", build);
    return build;
  }

  /** The highest number among the finished builds of a job; 0 for none. */
  highest(job: string): number {
    return Math.max(0, ...(this.#finished.get(job)?.keys() ?? []));
  }

  /** Where a build lies on disk. */
  folder(job: string, number: number): string {
    return join(this.#options.folder, job, String(number));
  }

  get running(): readonly Build[] {
    return [...this.#running.values()];
  }

  /** The running build that a selector means; of several runs under one uuid the last. */
  findRunning(selector: Selector): Build | undefined {
    if ("job" in selector) return this.#running.get(`${selector.job}#${selector.number}`);
    return this.running.findLast((build) => build.record.uuid === selector.uuid);
  }

  /** The finished build that a selector means; of several runs under one uuid the last. */
  findFinished(selector: Selector): BuildSummary | undefined {
    if ("uuid" in selector) return this.#byUuid.get(selector.uuid);
    return this.#finished.get(selector.job)?.get(selector.number);
  }

  /** Finished builds, the newest first, of one job or of all. */
  finished(job?: string): BuildSummary[] {
    const jobs = job === undefined ? [...this.#finished.values()] : [this.#finished.get(job) ?? new Map()];
    return jobs
      .flatMap((builds) => [...builds.values()])
      .sort((a, b) => b.assigned.localeCompare(a.assigned) || b.number - a.number);
  }

  /** How long the job takes on nodes with the same labels: the median of its last ten passed runs, in milliseconds. */
  estimate(job: string, labels: readonly string[]): number | undefined {
    const durations = this.finished(job)
      .filter((build) => build.ending?.kind === "passed" && build.labels.join() === labels.join())
      .slice(0, 10)
      .map((build) => Date.parse(build.ended ?? "") - Date.parse(build.started ?? build.assigned))
      .sort((a, b) => a - b);
    return durations[Math.floor(durations.length / 2)];
  }

  /**
   * Sets the description of a build, running or finished.
   * @returns false when there is no such build
   */
  async describe(selector: Selector, html: string): Promise<boolean> {
    const running = this.findRunning(selector);
    if (running) {
      await running.describe(html);
      return true;
    }
    const found = this.findFinished(selector);
    if (!found) return false;
    const folder = this.folder(found.job, found.number);
    const record = await readRecord(folder);
    record.description = html;
    await writeRecord(folder, record);
    return true;
  }

  /** Removes the builds of a job beyond the newest `keep`, and all that ended before `since` (Unix time in ms). */
  async prune(keep: number, since: number): Promise<void> {
    for (const [job, builds] of this.#finished) {
      const newestFirst = [...builds.values()].sort((a, b) => b.number - a.number);
      const old = newestFirst.filter(
        (build, index) => index >= keep || Date.parse(build.ended ?? "") < since,
      );
      for (const build of old) await this.#remove(job, build);
    }
  }

  async #remove(job: string, build: BuildSummary): Promise<void> {
    this.#finished.get(job)?.delete(build.number);
    if (this.#byUuid.get(build.uuid) === build) this.#byUuid.delete(build.uuid);
    // Renamed first, so that a crash leaves no half of a build behind that looks whole.
    const aside = join(this.#options.folder, job, `.old-${build.number}`);
    await mkdir(this.#options.folder, { recursive: true });
    await rename(this.folder(job, build.number), aside);
    await rm(aside, { recursive: true, force: true });
  }
}
