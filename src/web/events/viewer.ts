/** Clients that follow events over HTTP, each at its own pace and in bounded memory. */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { event, type Frame, gapEvent, gzipHeader, heartbeat } from "./frames.ts";

/** A viewer with more unsent bytes than this misses events. All viewers share the buffers. */
const maxUnsentBytes = 2 * 1024 * 1024;
const heartbeatIntervalMs = 10_000;
/** A viewer that reads nothing for this many heartbeats is disconnected. */
const maxStalledHeartbeats = 6;

/**
 * Whether it keeps up with the stream.
 *
 *     keeping-up ──too much unsent──▶ behind ──all of it sent──▶ keeping-up
 */
type Pace = { readonly kind: "keeping-up" } | { readonly kind: "behind"; readonly from: number };

export class Viewer {
  readonly #response: ServerResponse;
  readonly #gone = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #pace: Pace = { kind: "keeping-up" };
  /** Everything in the stream before this offset has been sent or missed. */
  #position = 0;
  #stalled = 0;
  readonly #compressed: boolean;

  /** Starts the response, compressed if the client accepts that. */
  constructor(response: ServerResponse, { headers }: IncomingMessage) {
    this.#response = response;
    this.#compressed = /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(`${headers["accept-encoding"] ?? ""}`);
    response.socket?.setTimeout(0);
    response.socket?.setNoDelay(true);
    // x-accel-buffering: nginx would hold events back in its buffer.
    response.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
      vary: "accept-encoding",
      ...(this.#compressed && { "content-encoding": "gzip" }),
    });
    if (this.#compressed) response.write(gzipHeader);
    else response.flushHeaders();
    response.on("drain", () => this.#catchUp());
    response.once("close", () => this.#end());
    this.#timer = setInterval(() => this.#heartbeat(), heartbeatIntervalMs).unref();
  }

  /** Aborted when the client has disconnected. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Sends and waits until there is room for more. For frames that only this viewer gets. */
  async send(frame: Frame): Promise<void> {
    if (this.gone.aborted || this.#write(frame)) return;
    await once(this.#response, "drain", { signal: this.gone }).catch(() => {});
  }

  /** Sends without waiting. For frames outside the stream; dropped if too much is unsent. */
  offer(frame: Frame): void {
    if (!this.gone.aborted && this.#response.writableLength <= maxUnsentBytes) this.#write(frame);
  }

  /** The stream continues from this offset. */
  join(position: number): void {
    this.#position = position;
  }

  /**
   * Sends a frame of the shared stream without waiting. A viewer that is too slow misses it.
   * @param from,to the offsets of the frame in the stream
   */
  push(frame: Frame, from: number, to: number): void {
    this.#position = to;
    if (this.#pace.kind === "behind" || this.gone.aborted) return;
    if (this.#response.writableLength > maxUnsentBytes) this.#pace = { kind: "behind", from };
    else this.#write(frame);
  }

  #write(frame: Frame): boolean {
    return this.#response.write(this.#compressed ? frame.compressed : frame.plain);
  }

  #catchUp(): void {
    this.#stalled = 0;
    if (this.#pace.kind !== "behind") return;
    this.#write(gapEvent(this.#pace.from, this.#position));
    this.#pace = { kind: "keeping-up" };
  }

  /** Ends the response after everything unsent, with an event for what was missed. */
  end(last?: Frame): void {
    if (this.gone.aborted) return;
    if (this.#pace.kind === "behind") this.#write(gapEvent(this.#pace.from, this.#position));
    if (last) this.#write(last);
    this.#response.end();
  }

  #heartbeat(): void {
    if (!this.#response.writableNeedDrain) {
      this.#write(heartbeat);
      return;
    }
    this.#stalled += 1;
    if (this.#stalled >= maxStalledHeartbeats) this.#response.destroy();
  }

  #end(): void {
    clearInterval(this.#timer);
    this.#gone.abort();
  }
}

/** What the viewers of an audience see. */
export interface Watched {
  /** The name of the event. */
  readonly name: string;
  /** Any JSON. */
  state(): unknown;
  /** The part of the state whose changes matter; absent if all of it does. */
  significant?(): unknown;
  readonly pollIntervalMs: number;
}

/** The viewers of one thing: they get an event with its state whenever it changes. */
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
