/** Watches a folder for changes, also when the folder itself comes, goes, or is replaced by another. */
import { type FSWatcher, type Stats, statSync, watch } from "node:fs";
import { dirname } from "node:path";

/** Between calls where the system has no watch to give. */
const pollIntervalMs = 3000;

/** While the folder isn't there, it watches the nearest one above it. */
export class FolderWatch implements Disposable {
  readonly #folder: string;
  readonly #changed: () => void;
  #watcher: FSWatcher | undefined;
  /** The folder that the watcher watches. */
  #watched: { path: string; ino: number; dev: number } | undefined;
  #poll: NodeJS.Timeout | undefined;
  #ended = false;

  /** @param changed is called after each change, and sometimes without one */
  constructor(folder: string, changed: () => void) {
    this.#folder = folder;
    this.#changed = changed;
    this.#aim();
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    this.#watcher?.close();
    clearInterval(this.#poll);
  }

  /** Moves the watcher to the folder, or to the nearest one above it. */
  #aim(): void {
    // A folder that came just before the watch began causes no event: look again until nothing moves.
    for (let rounds = 0; rounds < 32; rounds++) {
      const target = nearest(this.#folder);
      const { ino, dev } = target.stats;
      if (this.#watched?.path === target.path && this.#watched.ino === ino && this.#watched.dev === dev)
        return;
      this.#watcher?.close();
      this.#watched = { path: target.path, ino, dev };
      try {
        this.#watcher = watch(target.path, { persistent: false }, this.#onEvent);
        this.#watcher.on("error", () => this.#onRefusal());
      } catch {
        this.#onRefusal();
        return;
      }
    }
  }

  readonly #onEvent = (event: string): void => {
    // Above the folder only names matter. On many kernels, each write to a device in /dev is an event too.
    if (this.#ended || (event === "change" && this.#watched?.path !== this.#folder)) return;
    this.#aim();
    this.#changed();
  };

  /** Too many watches, or a file system without them. */
  #onRefusal(): void {
    this.#watcher?.close();
    this.#watched = undefined;
    if (this.#ended) return;
    this.#poll ??= setInterval(this.#changed, pollIntervalMs).unref();
  }
}

function nearest(folder: string): { path: string; stats: Stats } {
  for (let path = folder; ; path = dirname(path)) {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats?.isDirectory() || path === "/") return { path, stats: stats ?? statSync("/") };
  }
}
