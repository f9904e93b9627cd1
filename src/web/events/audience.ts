/** The viewers of one thing: they get an event with its state whenever it changes. */
import { event, type Frame } from "./frames.ts";
import type { Viewer } from "./viewer.ts";

export interface Watched {
  /** The name of the event. */
  readonly name: string;
  /** Any JSON. */
  state(): unknown;
  /** The part of the state whose changes matter; absent if all of it does. */
  significant?(): unknown;
  readonly pollIntervalMs: number;
}

export class Audience implements Disposable {
  readonly #watched: Watched;
  readonly #viewers = new Set<Viewer>();
  #timer: NodeJS.Timeout | undefined;
  /** The significant part, as JSON, of the last event. */
  #last = "";

  constructor(watched: Watched) {
    this.#watched = watched;
  }

  get viewers(): ReadonlySet<Viewer> {
    return this.#viewers;
  }

  /** Sends the state now, and on each change until the viewer disconnects. */
  add(viewer: Viewer): void {
    if (viewer.gone.aborted) return;
    this.#timer ??= setInterval(() => this.check(), this.#watched.pollIntervalMs).unref();
    if (this.#viewers.size === 0) this.#last = this.#significant();
    this.#viewers.add(viewer);
    viewer.offer(this.#event());
    viewer.gone.addEventListener("abort", () => this.#remove(viewer), { once: true });
  }

  /** Sends the state to all viewers if it has changed. */
  check(): void {
    const current = this.#significant();
    if (current === this.#last) return;
    this.#last = current;
    const frame = this.#event();
    for (const viewer of this.#viewers) viewer.offer(frame);
  }

  #significant(): string {
    const watched = this.#watched;
    return JSON.stringify(watched.significant ? watched.significant() : watched.state());
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
