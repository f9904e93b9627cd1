/** The console of a device as a source of events. */

import { deviceView } from "../api/lab-views.ts";
import type { Lab } from "../lab.ts";
import type { Piece } from "./frames.ts";
import type { Source } from "./stream.ts";

/** What comes within this time is one piece, in milliseconds: boards speak byte by byte. */
const gathered = 20;
/** The largest piece, in bytes. */
const most = 64 * 1024;

export class DeviceSource implements Source {
  readonly name = "state";
  readonly every = 1000;
  readonly #lab: Lab;
  readonly #device: string;

  constructor(lab: Lab, device: string) {
    this.#lab = lab;
    this.#device = device;
  }

  state(): unknown {
    // One that a reload took away has no state any more.
    return this.#lab.feed(this.#device) ? deviceView(this.#lab, this.#device) : null;
  }

  async begin(): Promise<number> {
    return this.#lab.feed(this.#device)?.end ?? 0;
  }

  async *history(from: number, to: number, signal: AbortSignal): AsyncGenerator<Piece> {
    const feed = this.#lab.feed(this.#device);
    if (!feed || feed.start >= to) return;
    const done = new AbortController();
    const chunks = feed.follow(from, AbortSignal.any([signal, done.signal]));
    for await (const { offset, at, bytes } of chunks) {
      if (offset < to) yield { offset, at, bytes: bytes.subarray(0, to - offset) };
      if (offset + bytes.length >= to) break;
    }
    done.abort();
  }

  async *live(from: number, signal: AbortSignal): AsyncGenerator<Piece> {
    const feed = this.#lab.feed(this.#device);
    if (!feed) return;
    let waiting: { offset: number; at: number; parts: Uint8Array[]; size: number } | undefined;
    const taken = (): Piece | undefined => {
      if (!waiting) return undefined;
      const { offset, at, parts } = waiting;
      waiting = undefined;
      return { offset, at, bytes: Buffer.concat(parts) };
    };
    for await (const { offset, at, bytes } of feed.follow(from, signal)) {
      const fits =
        waiting &&
        waiting.offset + waiting.size === offset &&
        at - waiting.at < gathered &&
        waiting.size < most;
      if (!fits) {
        const piece = taken();
        if (piece) yield piece;
      }
      waiting ??= { offset, at, parts: [], size: 0 };
      waiting.parts.push(bytes);
      waiting.size += bytes.length;
      // All that is there is taken before it is sent.
      if (offset + bytes.length < (this.#lab.feed(this.#device)?.end ?? 0)) continue;
      const piece = taken();
      if (piece) yield piece;
    }
  }
}
