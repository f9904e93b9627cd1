/** One build's life: its record, its console, its folder, and the signal that stops it. */
import { EventEmitter } from "node:events";
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ConsoleLog } from "./console/log.ts";
import { type Ending, isOwn } from "./ending.ts";
import { type BuildRecord, writeRecord } from "./record.ts";

/**
 * The life cycle. A stop may come in any phase before the end: the work under way hears it by the signal, winds up, and
 * the build ends as the stop says.
 *
 *     assigned ──▶ preparing ──▶ running ──▶ collecting
 *        ├─────────────┼────────────┼────────────┼──end──────▶ ended
 *        └─────────────┴────────────┴────────────┴──stop──▶ stopping ──end──▶ ended
 */
export type BuildState =
  /** It has a number and the client knows; nothing is on disk yet. */
  | { readonly phase: "assigned" }
  /** Workspace and checkout. */
  | { readonly phase: "preparing" }
  | { readonly phase: "running" }
  /** Artifacts and test reports. */
  | { readonly phase: "collecting" }
  | { readonly phase: "stopping"; readonly ending: Ending }
  | { readonly phase: "ended"; readonly ending: Ending };

/** `ended` comes once, when the record is on disk, or can't be. */
export class Build extends EventEmitter<{ changed: []; ended: [] }> {
  readonly folder: string;
  readonly record: BuildRecord;
  /** When its work began, by performance.now(). */
  #begun = performance.now();
  readonly #stop = new AbortController();
  readonly #opened = Promise.withResolvers<ConsoleLog | undefined>();
  #state: BuildState = { phase: "assigned" };
  #console: ConsoleLog | undefined;
  /** True once the folder is in its place. */
  #stored = false;
  /** The record is written by one after the other, so that the newest stays. */
  #saving: Promise<void> = Promise.resolve();
  /** False while the record on disk is older than the one here, since it couldn't be written. */
  #saved = true;
  /** Percent, estimated; never going back. */
  #progress = 0;

  constructor(folder: string, record: BuildRecord) {
    super();
    this.setMaxListeners(0);
    this.folder = folder;
    this.record = record;
  }

  get state(): BuildState {
    return this.#state;
  }

  /** Aborted when the build is to stop. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Aborted when the build has been asked to stop, and so many milliseconds have passed since then and since this call. */
  stoppedFor(milliseconds: number): AbortSignal {
    const over = new AbortController();
    const begin = () => setTimeout(() => over.abort(), milliseconds).unref();
    if (this.signal.aborted) begin();
    else this.signal.addEventListener("abort", begin, { once: true });
    return over.signal;
  }

  /** Absent until the folder is there. */
  get console(): ConsoleLog | undefined {
    return this.#console;
  }

  /** Resolves with the console once it is there; with nothing when it can't be opened or the build has ended before. */
  get opened(): Promise<ConsoleLog | undefined> {
    return this.#opened.promise;
  }

  get progress(): number {
    return this.#progress;
  }

  /** Raises the progress; 99 at most before the end. */
  set progress(percent: number) {
    const next = Math.min(99, Math.floor(percent));
    if (!(next > this.#progress) || this.#state.phase === "ended") return;
    this.#progress = next;
    this.emit("changed");
  }

  /** `JOB#NUMBER`, as people and the command line write it. */
  get title(): string {
    return `${this.record.job}#${this.record.number}`;
  }

  /**
   * Makes the folder, complete with its record, and opens the console.
   * @param maxConsole bytes of console that are kept
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
    // Made aside and renamed, so that no crash leaves a build's folder without a record.
    const fresh = join(dirname(this.folder), `.new-${this.record.number}`);
    try {
      await mkdir(join(fresh, "artifacts"), { recursive: true });
      await writeRecord(fresh, this.record);
      await rename(fresh, this.folder);
    } catch (error) {
      await rm(fresh, { recursive: true, force: true });
      throw error;
    }
    this.#stored = true;
  }

  /** Goes on to a phase of the work; a build that is stopping stays so. */
  enter(phase: "preparing" | "running" | "collecting"): void {
    if (this.#state.phase === "stopping" || this.#state.phase === "ended") return;
    this.#state = { phase };
    if (phase === "running") {
      this.record.started = new Date().toISOString();
      this.#begun = performance.now();
    }
    this.emit("changed");
  }

  /**
   * Asks the build to stop and to end so.
   * @returns false when it has ended, or was asked before
   */
  stop(ending: Ending): boolean {
    if (this.#state.phase === "stopping" || this.#state.phase === "ended") return false;
    this.#state = { phase: "stopping", ending };
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
   * Ends the build: closes the console and writes the record. A stop that was asked for decides how it ended.
   * @param ending how the work ended; without effect when the build has ended before
   * @param resultOf what the client is told of an ending
   * @returns how the build ended
   * @throws the file system's error, when the record can't be written; the build has ended all the same
   */
  async end(ending: Ending, resultOf: (ending: Ending) => string | undefined): Promise<Ending> {
    if (this.#state.phase === "ended") return this.#state.ending;
    const final = this.#state.phase === "stopping" ? this.#state.ending : ending;
    this.#state = { phase: "ended", ending: final };
    this.#opened.resolve(undefined);
    this.record.ended = new Date().toISOString();
    this.record.took = Math.round(performance.now() - this.#begun);
    this.record.ending = final;
    const result = resultOf(final);
    if (result !== undefined) this.record.result = result;
    // Before anything is sent: dying on the way to the client, we would run it again for an ending that we have.
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

  /** Whether the record on disk is the one here; also true for a build that never came to disk. */
  get saved(): boolean {
    return this.#saved;
  }

  /**
   * Writes the record as it is when its turn comes; nothing while there is no folder for it.
   * @throws the file system's error
   */
  save(): Promise<void> {
    const saved = this.#saving.then(async () => {
      if (!this.#stored) return;
      this.#saved = false;
      await writeRecord(this.folder, this.record);
      this.#saved = true;
    });
    this.#saving = saved.catch(() => {});
    return saved;
  }
}
