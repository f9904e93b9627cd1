/** A console for any number of viewers: read once at its live end, and shown to all of them. */
import { setTimeout as delay } from "node:timers/promises";
import { Audience, type Watched } from "./audience.ts";
import { event, gapEvent, outputEvent, type Piece } from "./frames.ts";
import type { Viewer } from "./viewer.ts";

/** Where the bytes come from; pieces end where characters do, as far as there are any. */
export interface Source extends Watched {
  /** The offset where live begins, once that is known. */
  begin(signal: AbortSignal): Promise<number>;
  /** What was there before. A piece that begins later than the one before ended: the rest is gone. */
  history(from: number, to: number, signal: AbortSignal): AsyncIterable<Piece>;
  /** What comes, until the end. */
  live(from: number, signal: AbortSignal): AsyncIterable<Piece>;
}

/** Between two pieces, in milliseconds: what comes meanwhile is sent as one. */
const leastPause = 20;
const mostPause = 40;
/** How long it shows without a break, in milliseconds; and how much longer than that it leaves to others. */
const slice = 2;
const share = 2;

/**
 *     starting ──where it begins is known──▶ live ──the source ends──▶ over
 *        └───────────────┴──the last viewer goes──▶ over
 */
type StreamState =
  | { readonly kind: "starting" }
  | { readonly kind: "live"; readonly position: number }
  | { readonly kind: "over"; readonly position: number };

export class Stream {
  readonly #source: Source;
  readonly #audience: Audience;
  /** Those who have seen all that was before. */
  readonly #upToDate = new Set<Viewer>();
  readonly #ending = new AbortController();
  readonly #started: Promise<void>;
  readonly #onOver: (error?: Error) => void;
  #watchers = 0;
  #state: StreamState = { kind: "starting" };

  /** @param onOver it takes no more viewers; with the source's error, if that is why */
  constructor(source: Source, onOver: (error?: Error) => void) {
    this.#source = source;
    this.#audience = new Audience(source);
    this.#onOver = onOver;
    const started = Promise.withResolvers<void>();
    this.#started = started.promise;
    void this.#run(started.resolve).then(
      () => this.#end(started.resolve),
      (error: Error) => this.#end(started.resolve, error),
    );
  }

  /**
   * Shows it from an offset, or from its live end, until the viewer goes or there is no more.
   * @throws the source's error
   */
  async watch(viewer: Viewer, from: number | undefined): Promise<void> {
    this.#watchers += 1;
    try {
      this.#audience.add(viewer);
      await Promise.race([this.#started, aborted(viewer.gone)]);
      await this.#showHistory(viewer, from ?? this.#position);
      viewer.join(this.#position);
      if (this.#state.kind === "over") viewer.end(event("end", {}));
      else this.#upToDate.add(viewer);
      await aborted(viewer.gone);
    } finally {
      this.#upToDate.delete(viewer);
      this.#watchers -= 1;
      if (this.#watchers === 0) this.#ending.abort();
    }
  }

  /** Many viewers get fewer and larger pieces. */
  get #pause(): number {
    return Math.min(mostPause, leastPause + this.#upToDate.size / 10);
  }

  get #position(): number {
    return this.#state.kind === "starting" ? 0 : this.#state.position;
  }

  /** At the viewer's own pace; what comes meanwhile is history, too. */
  async #showHistory(viewer: Viewer, from: number): Promise<void> {
    for (let at = from; at < this.#position && !viewer.gone.aborted; ) {
      const to = this.#position;
      for await (const piece of this.#source.history(at, to, viewer.gone)) {
        if (piece.offset > at) await viewer.send(gapEvent(at, piece.offset));
        await viewer.send(outputEvent(piece));
        at = piece.offset + piece.bytes.length;
      }
      if (viewer.gone.aborted) return;
      if (at < to) await viewer.send(gapEvent(at, to));
      at = Math.max(at, to);
    }
  }

  async #run(started: () => void): Promise<void> {
    const { signal } = this.#ending;
    const position = await this.#source.begin(signal);
    this.#state = { kind: "live", position };
    started();
    for await (const piece of this.#source.live(position, signal)) {
      await this.#show(piece);
      await delay(this.#pause, undefined, { signal }).catch(() => {});
    }
  }

  #end(started: () => void, error?: Error): void {
    this.#state = { kind: "over", position: this.#position };
    started();
    this.#onOver(error);
    this.#audience.look();
    for (const viewer of this.#upToDate) viewer.end(event("end", {}));
  }

  /** With a break after every few viewers: most of the time is left to others, first of all to the build's own output. */
  async #show(piece: Piece): Promise<void> {
    const from = this.#position;
    const to = piece.offset + piece.bytes.length;
    this.#state = { kind: "live", position: to };
    const frames = [outputEvent(piece)];
    if (piece.offset > from) frames.unshift(gapEvent(from, piece.offset));
    let begun = performance.now();
    for (const viewer of [...this.#upToDate]) {
      for (const frame of frames) viewer.show(frame, from, to);
      const busy = performance.now() - begun;
      if (busy < slice) continue;
      await delay(share * busy);
      begun = performance.now();
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
