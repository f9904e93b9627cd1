/** A live console with any number of viewers: read once, sent to all. */
import { setTimeout as delay } from "node:timers/promises";
import { event, gapEvent, outputEvent, type Piece } from "./frames.ts";
import { Audience, type Viewer, type Watched } from "./viewer.ts";

/** Where the bytes come from. Pieces end at the end of a character where possible. */
export interface Source extends Watched {
  /** Resolves with the offset where live output starts. */
  begin(signal: AbortSignal): Promise<number>;
  /** Earlier output. A piece that starts after the end of the one before means that bytes are gone. */
  history(from: number, to: number, signal: AbortSignal): AsyncIterable<Piece>;
  /** New output, until the end. */
  live(from: number, signal: AbortSignal): AsyncIterable<Piece>;
}

/** Between two pieces: output that arrives in the pause is sent as one piece. More viewers get fewer, larger pieces. */
const minPauseMs = 20;
const maxPauseMs = 40;
/** Sending yields to other work after this time, for `yieldFactor` times as long as it took. */
const maxSendMs = 2;
const yieldFactor = 2;

/**
 *     starting ──start offset known──▶ live ──source ends──▶ over
 *        └──────────────┴──last viewer leaves──▶ over
 */
type StreamState =
  | { readonly kind: "starting" }
  | { readonly kind: "live"; readonly position: number }
  | { readonly kind: "over"; readonly position: number };

export class Stream {
  readonly #source: Source;
  readonly #audience: Audience;
  /** Viewers that have received all earlier output. */
  readonly #caughtUp = new Set<Viewer>();
  readonly #ending = new AbortController();
  readonly #started: Promise<void>;
  readonly #onOver: (error?: Error) => void;
  #watchers = 0;
  #state: StreamState = { kind: "starting" };

  /** @param onOver called when the stream takes no more viewers, with the source's error if it failed */
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
   * Sends the console from an offset, or from the live end, until the viewer disconnects or the console ends.
   * @throws the source's error
   */
  async watch(viewer: Viewer, from: number | undefined): Promise<void> {
    this.#watchers += 1;
    try {
      this.#audience.add(viewer);
      await Promise.race([this.#started, aborted(viewer.gone)]);
      await this.#sendHistory(viewer, from ?? this.#position);
      viewer.join(this.#position);
      if (this.#state.kind === "over") viewer.end(event("end", {}));
      else this.#caughtUp.add(viewer);
      await aborted(viewer.gone);
    } finally {
      this.#caughtUp.delete(viewer);
      this.#watchers -= 1;
      if (this.#watchers === 0) this.#ending.abort();
    }
  }

  get #pause(): number {
    return Math.min(maxPauseMs, minPauseMs + this.#caughtUp.size / 10);
  }

  get #position(): number {
    return this.#state.kind === "starting" ? 0 : this.#state.position;
  }

  /** Goes at the viewer's pace; output that arrives in the meantime becomes history too. */
  async #sendHistory(viewer: Viewer, from: number): Promise<void> {
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
      await this.#broadcast(piece);
      await delay(this.#pause, undefined, { signal }).catch(() => {});
    }
  }

  #end(started: () => void, error?: Error): void {
    this.#state = { kind: "over", position: this.#position };
    started();
    this.#onOver(error);
    this.#audience.check();
    for (const viewer of this.#caughtUp) viewer.end(event("end", {}));
  }

  /** Yields after every few viewers, to leave most of the time to other work such as reading the build's output. */
  async #broadcast(piece: Piece): Promise<void> {
    const from = this.#position;
    const to = piece.offset + piece.bytes.length;
    this.#state = { kind: "live", position: to };
    const frames = [outputEvent(piece)];
    if (piece.offset > from) frames.unshift(gapEvent(from, piece.offset));
    let startedAt = performance.now();
    for (const viewer of [...this.#caughtUp]) {
      for (const frame of frames) viewer.push(frame, from, to);
      const busy = performance.now() - startedAt;
      if (busy < maxSendMs) continue;
      await delay(yieldFactor * busy);
      startedAt = performance.now();
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
