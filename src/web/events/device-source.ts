/** The console of a device as a source of events. */
import type { AgentView } from "../agent-view.ts";
import { deviceView } from "../api/views.ts";
import type { Piece } from "./frames.ts";
import type { Source } from "./stream.ts";

/** Bytes that arrive within this time become one piece, because boards send byte by byte. */
const gatherMs = 20;
const maxPieceBytes = 64 * 1024;

export class DeviceSource implements Source {
  readonly name = "state";
  readonly pollIntervalMs = 1000;
  readonly #agent: AgentView;
  readonly #device: string;

  constructor(agent: AgentView, device: string) {
    this.#agent = agent;
    this.#device = device;
  }

  state(): unknown {
    // A reload may have removed the device.
    return this.#agent.feed(this.#device) ? deviceView(this.#agent, this.#device) : null;
  }

  async begin(): Promise<number> {
    return this.#agent.feed(this.#device)?.end ?? 0;
  }

  async *history(from: number, to: number, signal: AbortSignal): AsyncGenerator<Piece> {
    const feed = this.#agent.feed(this.#device);
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
    const feed = this.#agent.feed(this.#device);
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
        at - waiting.at < gatherMs &&
        waiting.size < maxPieceBytes;
      if (!fits) {
        const piece = taken();
        if (piece) yield piece;
      }
      waiting ??= { offset, at, parts: [], size: 0 };
      waiting.parts.push(bytes);
      waiting.size += bytes.length;
      // More bytes are already there: take them first.
      if (offset + bytes.length < (this.#agent.feed(this.#device)?.end ?? 0)) continue;
      const piece = taken();
      if (piece) yield piece;
    }
  }
}
