/** One build's life: its record, its console, its folder, and the signal that stops it. */
import { EventEmitter } from "node:events";
import { mkdir, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ConsoleLog } from "./console.ts";
import type { Ending } from "./ending.ts";
import { type BuildRecord, writeRecord } from "./record.ts";

/**
 * The life cycle. A stop may come in any phase before the end: the work under way hears it by the signal, winds up, and
 * the build ends as the stop says.
 *
 *     assigned ──▶ preparing ──▶ running ──▶ collecting ──▶ ended
 *         └────────────┴────────────┴──▶ stopping ─────────────▲
 *                                            └─────────────────┘
 */
export type BuildState =
  /** It has a number and the client knows; nothing is on disk yet. */
  | { readonly phase: "assigned" }
  /** Workspace and checkout. */
  | { readonly phase: "preparing" }
  | { readonly phase: "running"; readonly since: number }
  /** Artifacts and test reports. */
  | { readonly phase: "collecting" }
  | { readonly phase: "stopping"; readonly ending: Ending }
  | { readonly phase: "ended"; readonly ending: Ending };

export class Build extends EventEmitter<{ changed: [] }> {
  readonly folder: string;
  readonly record: BuildRecord;
  readonly #stop = new AbortController();
  #state: BuildState = { phase: "assigned" };
  #console: ConsoleLog | undefined;
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

  /** Absent until the folder is there. */
  get console(): ConsoleLog | undefined {
    return this.#console;
  }

  get progress(): number {
    return this.#progress;
  }

  /** Raises the progress; 99 at most before the end. */
  set progress(percent: number) {
    const next = Math.min(99, Math.floor(percent));
    if (next <= this.#progress || this.#state.phase === "ended") return;
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
   * @throws the file system's error
   */
  async open(maxConsole: number): Promise<ConsoleLog> {
    // Made aside and renamed, so that no crash leaves a build's folder without a record.
    const fresh = join(dirname(this.folder), `.new-${this.record.number}`);
    await mkdir(join(fresh, "artifacts"), { recursive: true });
    await writeRecord(fresh, this.record);
    await rename(fresh, this.folder);
    this.#console = await ConsoleLog.open(this.folder, maxConsole);
    return this.#console;
  }

  /** Goes on to a phase of the work; a build that is stopping stays so. */
  enter(phase: "preparing" | "running" | "collecting"): void {
    if (this.#state.phase === "stopping" || this.#state.phase === "ended") return;
    this.#state = phase === "running" ? { phase, since: Date.now() } : { phase };
    if (phase === "running") this.record.started = new Date().toISOString();
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

  /** Sets the description, a client's HTML, on a build that has not ended. */
  async describe(html: string): Promise<void> {
    this.record.description = html;
    this.emit("changed");
    if (this.#console) await writeRecord(this.folder, this.record);
  }

  /**
   * Ends the build: closes the console and writes the record. A stop that was asked for decides how it ended.
   * @param ending how the work ended
   * @param result what the client is told
   * @returns how the build ended
   * @throws the file system's error, when the record can't be written; the build has ended all the same
   */
  async end(ending: Ending, resultOf: (ending: Ending) => string | undefined): Promise<Ending> {
    const final = this.#state.phase === "stopping" ? this.#state.ending : ending;
    this.#state = { phase: "ended", ending: final };
    this.record.ended = new Date().toISOString();
    this.record.ending = final;
    const result = resultOf(final);
    if (result !== undefined) this.record.result = result;
    if (this.#console) this.record.console = { bytes: this.#console.size, cut: this.#console.cut };
    try {
      await this.#console?.close();
      if (this.#console) await writeRecord(this.folder, this.record);
    } finally {
      this.emit("changed");
    }
    return final;
  }
}
