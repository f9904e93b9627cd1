/** A build's life: its record, console and folder, and the signal that stops it. */
import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { mkdirSync, renameSync, rmdirSync, rmSync, unlinkSync } from "node:fs";
import { chmod, lstat, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { reason } from "#/lib/errors.ts";
import { ConsoleLog } from "./console/log.ts";
import {
  type BuildRecord,
  type Ending,
  isOwn,
  recordFile,
  type StepName,
  writeFirstRecord,
  writeRecord,
} from "./record.ts";
import { removeTree } from "./workspace/remove.ts";

/**
 * The life cycle. A stop can come in any phase before the end. It ends the work, and the build ends as the stop says; once the
 * work has ended, that decides the ending, and a stop only cuts the collecting short.
 *
 *     assigned ──▶ preparing ──▶ running ──▶ collecting
 *        ├─────────────┼────────────┼────────────┼──end──────▶ ended
 *        └─────────────┴────────────┴────────────┴──stop──▶ stopping ──end──▶ ended
 */
export type BuildState =
  /** It has a number, and the client has been sent the first data; nothing is on disk yet. */
  | { readonly phase: "assigned" }
  /** Workspace and checkout. */
  | { readonly phase: "preparing" }
  | { readonly phase: "running" }
  /** Artifacts and test reports. How the work ended decides. */
  | { readonly phase: "collecting"; readonly ending: Ending }
  | { readonly phase: "stopping"; readonly ending: Ending }
  | { readonly phase: "ended"; readonly ending: Ending };

/** `ended` is emitted once, when the record is on disk or writing it failed. */
export class Build extends EventEmitter<{ changed: []; ended: [] }> {
  readonly folder: string;
  readonly record: BuildRecord;
  /** By performance.now(). */
  #startedAt = performance.now();
  /** The current step's. */
  #stepStartedAt = 0;
  readonly #stop = new AbortController();
  readonly #hurry = new AbortController();
  readonly #opened = Promise.withResolvers<ConsoleLog | undefined>();
  #state: BuildState = { phase: "assigned" };
  #console: ConsoleLog | undefined;
  /** The folder is in its place. */
  #stored = false;
  /** Saves run one after another, so the newest record wins. */
  #saving: Promise<void> = Promise.resolve();
  /** False while the record on disk is older than the one in memory. */
  #saved = true;
  /** Estimated percent; it never goes back. */
  #progress = 0;

  constructor(folder: string, record: BuildRecord) {
    super();
    this.setMaxListeners(0);
    this.folder = folder;
    this.record = record;
  }

  /** Artifacts, those that the job puts there itself too; made by open(). */
  get artifactsFolder(): string {
    return join(this.folder, "artifacts");
  }

  get state(): BuildState {
    return this.#state;
  }

  /** Aborts when the build must stop. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Aborts when somebody waits for the end: at every stop but a timeout's. */
  get hurry(): AbortSignal {
    return this.#hurry.signal;
  }

  /** Absent until the folder exists. */
  get console(): ConsoleLog | undefined {
    return this.#console;
  }

  /** Resolves with the console once it is open; with undefined if opening fails or the build ends first. */
  get opened(): Promise<ConsoleLog | undefined> {
    return this.#opened.promise;
  }

  get progress(): number {
    return this.#progress;
  }

  /** Raises the progress, to 99 at most. */
  set progress(percent: number) {
    const next = Math.min(99, Math.floor(percent));
    if (!(next > this.#progress) || this.#state.phase === "ended") return;
    this.#progress = next;
    this.emit("changed");
  }

  /** `JOB#NUMBER`, as people write it. */
  get title(): string {
    return `${this.record.job}#${this.record.number}`;
  }

  /**
   * Creates the folder with its record, and opens the console.
   * @param maxConsole how many bytes of the console are kept
   * @throws the file system's error; the build can still be ended
   */
  async open(maxConsole: number): Promise<ConsoleLog> {
    try {
      await this.#makeFolder();
      this.#console = await ConsoleLog.open(this.folder, maxConsole);
    } finally {
      this.#opened.resolve(this.#console);
    }
    return this.#console;
  }

  async #makeFolder(): Promise<void> {
    // Created under another name and renamed: a crash never leaves a build's folder without a record.
    const fresh = join(dirname(this.folder), `.new-${this.record.number}`);
    try {
      const artifacts = join(fresh, "artifacts");
      try {
        mkdirSync(artifacts, { recursive: true });
      } catch (error) {
        await makeWay(error, dirname(dirname(this.folder)), dirname(this.folder), fresh);
        mkdirSync(artifacts, { recursive: true });
      }
      rmSync(recordFile(fresh), { recursive: true, force: true });
      await writeFirstRecord(fresh, this.record);
      try {
        renameSync(fresh, this.folder);
      } catch (error) {
        await makeWay(error, this.folder);
        renameSync(fresh, this.folder);
      }
    } catch (error) {
      await discard(fresh);
      throw error;
    }
    this.#stored = true;
  }

  /** Enters a phase of the work; no effect on a build that is stopping. */
  enter(phase: "preparing" | "running"): void {
    if (this.#state.phase === "stopping" || this.#state.phase === "ended") return;
    this.#state = { phase };
    if (phase === "running") {
      this.record.started = new Date().toISOString();
      this.#startedAt = performance.now();
    }
    this.emit("changed");
  }

  /** Begins a step, which ends the one before. */
  step(name: StepName): void {
    if (this.#state.phase === "ended" || this.record.steps?.at(-1)?.name === name) return;
    this.record.steps = [...this.#endedSteps(), { name, started: new Date().toISOString() }];
    this.#stepStartedAt = performance.now();
    this.emit("changed");
  }

  #endedSteps(): NonNullable<BuildRecord["steps"]> {
    const { steps = [] } = this.record;
    const last = steps.at(-1);
    if (!last || last.took !== undefined) return steps;
    return [...steps.slice(0, -1), { ...last, took: Math.round(performance.now() - this.#stepStartedAt) }];
  }

  /**
   * The work has ended like this, which no stop changes any more, not even one that came after the script's end.
   * @param ending "stopped": a stop ended it, and decides
   */
  collect(ending: Ending): void {
    const { phase } = this.#state;
    if (phase === "ended" || (phase === "stopping" && ending.kind === "stopped")) return;
    this.#state = { phase: phase === "stopping" ? phase : "collecting", ending };
    this.emit("changed");
  }

  /**
   * Stops the build; it ends with this ending, unless its work has ended already.
   * @returns false when it has ended, or is stopping already
   */
  stop(ending: Ending): boolean {
    const { phase } = this.#state;
    if (phase === "ended") return false;
    if (ending.kind !== "timed-out") this.#hurry.abort(ending);
    if (phase === "stopping") return false;
    this.#state = { phase: "stopping", ending: phase === "collecting" ? this.#state.ending : ending };
    this.#stop.abort(ending);
    this.emit("changed");
    return true;
  }

  /**
   * Sets the description, a client's HTML.
   * @throws the file system's error
   */
  async describe(html: string): Promise<void> {
    this.record.description = html;
    this.emit("changed");
    await this.save();
  }

  /**
   * Ends the build: closes the console and writes the record. If the build was stopped, the stop's ending wins. No effect on a
   * build that has ended.
   * @param ending how the work ended
   * @param resultOf the result that an ending gives the client
   * @returns how the build ended
   * @throws the file system's error when the record can't be written; the build has ended all the same
   */
  async end(ending: Ending, resultOf: (ending: Ending) => string | undefined): Promise<Ending> {
    if (this.#state.phase === "ended") return this.#state.ending;
    const final = this.#state.phase === "stopping" ? this.#state.ending : ending;
    this.#state = { phase: "ended", ending: final };
    this.#opened.resolve(undefined);
    this.record.ended = new Date().toISOString();
    this.record.took = Math.round(performance.now() - this.#startedAt);
    if (this.record.steps) this.record.steps = this.#endedSteps();
    this.record.ending = final;
    const result = resultOf(final);
    if (result !== undefined) this.record.result = result;
    // Before anything is sent: if the agent died in between, the build would run again although its ending is known.
    if (isOwn(final)) this.record.undelivered = true;
    try {
      await this.#console?.close();
      if (this.#console) this.record.console = { bytes: this.#console.size, cut: this.#console.cut };
      await this.save();
    } finally {
      this.emit("changed");
      this.emit("ended");
    }
    return final;
  }

  /** Whether the record on disk is up to date; also true for a build that never got a folder. */
  get saved(): boolean {
    return this.#saved;
  }

  /**
   * Writes the record as it is when the earlier saves are done; does nothing without a folder.
   * @throws the file system's error
   */
  save(): Promise<void> {
    const saved = this.#saving.then(async () => {
      if (!this.#stored) return;
      this.#saved = false;
      // A job that runs as the agent's user can remove it.
      mkdirSync(this.folder, { recursive: true });
      await writeRecord(this.folder, this.record).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== "EISDIR") throw error;
        await removeTree(recordFile(this.folder));
        await writeRecord(this.folder, this.record);
      });
      this.#saved = true;
    });
    this.#saving = saved.catch(() => {});
    return saved;
  }
}

/** Removes what was made of a build's folder, as far as it can. */
async function discard(fresh: string): Promise<void> {
  try {
    // One by one, since a look into a folder takes a file descriptor, and there may be none.
    unlinkSync(recordFile(fresh));
  } catch {
    // It wasn't made.
  }
  try {
    rmdirSync(join(fresh, "artifacts"));
    rmdirSync(fresh);
  } catch {
    await rm(fresh, { recursive: true, force: true }).catch(() => {});
  }
}

/**
 * What a build that runs as the agent's user has put in the way is moved aside, unless it is a folder above; those are made
 * writable again.
 * @throws the error, when nothing helps
 */
async function makeWay(error: unknown, ...above: readonly string[]): Promise<void> {
  const isOwn = above.length === 1;
  if (reason(error) === "EACCES" && !isOwn) {
    for (const path of above) await chmod(path, 0o755).catch(() => {});
    return;
  }
  if (!["ENOTDIR", "EEXIST", "ENOENT", "ELOOP", "ENOTEMPTY"].includes(reason(error))) throw error;
  for (const path of above) {
    const found = await lstat(path).catch(() => undefined);
    if (!found) continue;
    // A link may lead to another disk.
    if (!isOwn && (await stat(path).catch(() => found)).isDirectory()) continue;
    // It is left for a person to look at.
    return await rename(path, `${path}.damaged-${randomUUID()}`);
  }
  throw error;
}
