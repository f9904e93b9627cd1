/** One who follows events over HTTP: written to at its own pace, in bounded memory. */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type Frame, gapEvent, heartbeat, packedStart } from "./frames.ts";

/** What waits for one viewer at most, in bytes, before it misses something; it waits once for all. */
const mostWaiting = 2 * 1024 * 1024;
/** Between two signs of life, in milliseconds. */
const beat = 15_000;
/** How many beats a viewer may take nothing. */
const mostSilent = 4;

/**
 * What it gets of a stream that others see too.
 *
 *     keeping up ──too much waits──▶ behind ──all of that is taken──▶ keeping up
 */
type Pace = { readonly kind: "keeping-up" } | { readonly kind: "behind"; readonly from: number };

export class Viewer {
  readonly #answer: ServerResponse;
  readonly #gone = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #pace: Pace = { kind: "keeping-up" };
  /** Where the stream is for this viewer: what lies before it was sent, or missed. */
  #position = 0;
  #silent = 0;
  /** True once something was sent since the last beat. */
  #sent = false;
  readonly #packed: boolean;

  /** Begins the answer: packed, when the request allows that. */
  constructor(answer: ServerResponse, { headers }: IncomingMessage) {
    this.#answer = answer;
    this.#packed = /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(`${headers["accept-encoding"] ?? ""}`);
    answer.socket?.setTimeout(0);
    answer.socket?.setNoDelay(true);
    // Proxies that gather answers would keep events back.
    answer.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
      vary: "accept-encoding",
      ...(this.#packed && { "content-encoding": "gzip" }),
    });
    if (this.#packed) answer.write(packedStart);
    else answer.flushHeaders();
    answer.on("drain", () => this.#catchUp());
    answer.once("close", () => this.#end());
    this.#timer = setInterval(() => this.#beat(), beat).unref();
  }

  /** Aborted when it has gone. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Sends, and waits until it is taken: for one who is alone with it. */
  async send(frame: Frame): Promise<void> {
    if (this.gone.aborted || this.#write(frame)) return;
    await once(this.#answer, "drain", { signal: this.gone }).catch(() => {});
  }

  /** Sends without waiting something that isn't part of a stream; dropped when too much waits already. */
  offer(frame: Frame): void {
    if (!this.gone.aborted && this.#answer.writableLength <= mostWaiting) this.#write(frame);
  }

  /** From here on it is shown the stream. */
  join(position: number): void {
    this.#position = position;
  }

  /**
   * Sends what others get as well: the same bytes, which are kept once for all. One who is too slow misses them.
   * @param from,to where in the stream it is
   */
  show(frame: Frame, from: number, to: number): void {
    this.#position = to;
    if (this.#pace.kind === "behind" || this.gone.aborted) return;
    if (this.#answer.writableLength > mostWaiting) this.#pace = { kind: "behind", from };
    else this.#write(frame);
  }

  #write(frame: Frame): boolean {
    this.#sent = true;
    return this.#answer.write(this.#packed ? frame.packed : frame.plain);
  }

  #catchUp(): void {
    this.#silent = 0;
    if (this.#pace.kind !== "behind") return;
    this.#write(gapEvent(this.#pace.from, this.#position));
    this.#pace = { kind: "keeping-up" };
  }

  /** Ends it after what waits, told what it missed. */
  end(last?: Frame): void {
    if (this.gone.aborted) return;
    if (this.#pace.kind === "behind") this.#write(gapEvent(this.#pace.from, this.#position));
    if (last) this.#write(last);
    this.#answer.end();
  }

  #beat(): void {
    if (!this.#answer.writableNeedDrain) {
      if (!this.#sent) this.#write(heartbeat);
      this.#sent = false;
      return;
    }
    this.#silent += 1;
    if (this.#silent >= mostSilent) this.#answer.destroy();
  }

  #end(): void {
    clearInterval(this.#timer);
    this.#gone.abort();
  }
}
