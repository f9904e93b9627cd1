/** Those who follow one thing: its state, told whenever it changes. */
import { event, type Frame } from "./frames.ts";
import type { Viewer } from "./viewer.ts";

export interface Watched {
  /** The name of the event that tells the state. */
  readonly name: string;
  /** Any JSON. */
  state(): unknown;
  /** What is looked at to see whether the state has changed; absent: all of it. */
  essence?(): unknown;
  /** How often it is looked at, in milliseconds. */
  readonly every: number;
}

export class Audience implements Disposable {
  readonly #watched: Watched;
  readonly #viewers = new Set<Viewer>();
  #timer: NodeJS.Timeout | undefined;
  /** What was seen last. */
  #seen = "";

  constructor(watched: Watched) {
    this.#watched = watched;
  }

  get viewers(): ReadonlySet<Viewer> {
    return this.#viewers;
  }

  /** Tells the state, and from now on each change of it, until the viewer goes. */
  add(viewer: Viewer): void {
    if (viewer.gone.aborted) return;
    this.#timer ??= setInterval(() => this.look(), this.#watched.every).unref();
    if (this.#viewers.size === 0) this.#seen = this.#essence();
    this.#viewers.add(viewer);
    viewer.offer(this.#event());
    viewer.gone.addEventListener("abort", () => this.#remove(viewer), { once: true });
  }

  /** Looks now, and tells everybody of a change. */
  look(): void {
    const essence = this.#essence();
    if (essence === this.#seen) return;
    this.#seen = essence;
    const frame = this.#event();
    for (const viewer of this.#viewers) viewer.offer(frame);
  }

  #essence(): string {
    const watched = this.#watched;
    return JSON.stringify(watched.essence ? watched.essence() : watched.state());
  }

  #event(): Frame {
    return event(this.#watched.name, this.#watched.state());
  }

  #remove(viewer: Viewer): void {
    this.#viewers.delete(viewer);
    if (this.#viewers.size === 0) this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
