/** Tells that something in a folder changed, also when the folder itself comes, goes, or is replaced by another. */
import { type FSWatcher, type Stats, statSync, watch } from "node:fs";
import { dirname } from "node:path";

/** Milliseconds between looks where the system refuses to tell. */
const lookEvery = 3000;

/** Where the folder isn't there, the nearest one above it is watched until it comes. */
export class FolderWatch implements Disposable {
  readonly #folder: string;
  readonly #changed: () => void;
  #watcher: FSWatcher | undefined;
  /** What the watcher is on, as long as there is one. */
  #on: { path: string; ino: number; dev: number } | undefined;
  #look: NodeJS.Timeout | undefined;
  #ended = false;

  /** @param changed called after each change, and often without one */
  constructor(folder: string, changed: () => void) {
    this.#folder = folder;
    this.#changed = changed;
    this.#aim();
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    this.#watcher?.close();
    clearInterval(this.#look);
  }

  /** Puts the watcher where it belongs now. */
  #aim(): void {
    // What came between finding the folder and watching it was not told: then the next one down is there already.
    for (let rounds = 0; rounds < 32; rounds++) {
      const target = nearest(this.#folder);
      const { ino, dev } = target.stats;
      if (this.#on?.path === target.path && this.#on.ino === ino && this.#on.dev === dev) return;
      this.#watcher?.close();
      this.#on = { path: target.path, ino, dev };
      try {
        this.#watcher = watch(target.path, { persistent: false }, this.#told);
        this.#watcher.on("error", () => this.#refused());
      } catch {
        this.#refused();
        return;
      }
    }
  }

  readonly #told = (event: string): void => {
    // Above the folder only names matter; writing to a device in /dev is an event there too, on many kernels.
    if (this.#ended || (event === "change" && this.#on?.path !== this.#folder)) return;
    this.#aim();
    this.#changed();
  };

  /** Too many watches, or a file system that has none. */
  #refused(): void {
    this.#watcher?.close();
    this.#on = undefined;
    if (this.#ended) return;
    this.#look ??= setInterval(this.#changed, lookEvery).unref();
  }
}

function nearest(folder: string): { path: string; stats: Stats } {
  for (let path = folder; ; path = dirname(path)) {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats?.isDirectory() || path === "/") return { path, stats: stats ?? statSync("/") };
  }
}
