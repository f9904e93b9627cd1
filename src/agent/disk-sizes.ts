/**
 * How much disk space the box's folders take, for the metrics: one is measured after the other, when a build has ended there, with at most
 * a hundredth of one processor's time.
 */
import { existsSync, lstatSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Build } from "#/builds/build.ts";
import type { BuildStore } from "#/builds/store.ts";
import { diskUsage } from "#/builds/workspace/disk-usage.ts";
import { workspaceOf } from "#/builds/workspace/workspace.ts";

/** The folders of the state directory, and how far below they are measured. */
const depths = { builds: 1, caches: 2, inputs: 0, mirrors: 2, workspaces: 2 } as const;

export type DiskSizeKind = keyof typeof depths;

const kinds = Object.keys(depths) as readonly DiskSizeKind[];

/** For one folder; what was found by then counts. */
const maxMeasureMs = 20_000;
const minPauseMs = 1000;
const pausesPerMeasure = 100;

export class DiskSizes implements AsyncDisposable {
  readonly #stateDir: string;
  readonly #builds: BuildStore;
  /** By path below the state directory, as everything here. */
  readonly #sizes = new Map<string, { readonly bytes: number; readonly at: number }>();
  readonly #changed = new Set<string>();
  readonly #ended = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #measuring: Promise<void> = Promise.resolve();

  constructor(stateDir: string, builds: BuildStore) {
    this.#stateDir = stateDir;
    this.#builds = builds;
    builds.on("ended", this.#onEnded);
    this.#measuring = this.#list(kinds).then(() => this.#schedule(minPauseMs));
  }

  /** Bytes by kind. Folders that weren't measured yet are left out. */
  get bytes(): ReadonlyMap<DiskSizeKind, number> {
    const sums = new Map<DiskSizeKind, number>();
    for (const [folder, { bytes }] of this.#sizes) {
      if (!existsSync(join(this.#stateDir, folder))) this.#sizes.delete(folder);
      else {
        const kind = folder.split("/", 1)[0] as DiskSizeKind;
        sums.set(kind, (sums.get(kind) ?? 0) + bytes);
      }
    }
    return sums;
  }

  readonly #onEnded = ({ record, folder }: Build): void => {
    const workspace = workspaceOf(this.#stateDir, record).folder.slice(this.#stateDir.length + 1);
    const below = workspace.slice("workspaces/".length);
    const ofJob = join(folder, "..").slice(this.#stateDir.length + 1);
    for (const changed of [workspace, `caches/${below}`, ofJob, "inputs"]) this.#changed.add(changed);
    this.#measuring = this.#measuring
      .then(() => this.#list(["mirrors"]))
      .then(() => this.#schedule(minPauseMs));
  };

  /** Mirrors say by their time whether they were used since. */
  async #list(wanted: readonly DiskSizeKind[]): Promise<void> {
    for (const kind of wanted) {
      let folders: string[] = [kind];
      for (let depth = 0; depth < depths[kind]; depth++)
        folders = (await Promise.all(folders.map((folder) => this.#foldersIn(folder)))).flat();
      for (const folder of folders) {
        const { at = 0 } = this.#sizes.get(folder) ?? {};
        const { mtimeMs = 0 } = lstatSync(join(this.#stateDir, folder), { throwIfNoEntry: false }) ?? {};
        if (mtimeMs >= at) this.#changed.add(folder);
      }
    }
  }

  async #foldersIn(folder: string): Promise<string[]> {
    const options = { withFileTypes: true } as const;
    const entries = await readdir(join(this.#stateDir, folder), options).catch(() => []);
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name));
  }

  #schedule(pauseMs: number): void {
    if (this.#timer || this.#changed.size === 0 || this.#ended.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#measuring = this.#measuring.then(() => this.#measureNext());
    }, pauseMs).unref();
  }

  async #measureNext(): Promise<void> {
    const [folder] = this.#changed;
    if (folder === undefined) return;
    this.#changed.delete(folder);
    const at = Date.now();
    const begun = performance.now();
    const time = AbortSignal.any([this.#ended.signal, AbortSignal.timeout(maxMeasureMs)]);
    const { bytes } = await diskUsage(join(this.#stateDir, folder), time);
    this.#sizes.set(folder, { bytes, at });
    this.#schedule(Math.max(minPauseMs, (performance.now() - begun) * pausesPerMeasure));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#builds.off("ended", this.#onEnded);
    this.#ended.abort();
    clearTimeout(this.#timer);
    await this.#measuring;
  }
}
