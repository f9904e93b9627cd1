/** Reads a tty at low cost: at once when a silent line speaks, then about every 8 ms while it goes on. */
import { readSync } from "node:fs";
import type { Receive } from "./line.ts";

/** Calls once when the descriptor is readable, or with an error when it never will be. */
export interface Poller {
  once(event: "readable", ready: (error: Error | null) => void): unknown;
}

/** Between reads of a line that goes on. */
const maxReadIntervalMs = 8;
/** Of what may arrive in an interval: the kernel buffers 4,095, and adapters without flow control lose the rest. */
const maxIntervalBytes = 2048;
/** After a read of this size more bytes are waiting. */
const largeReadBytes = 1024;
/** In a row, before other lines get their turn. */
const maxReads = 16;

export interface TtyReaderOptions {
  /** Open with O_NONBLOCK. */
  readonly descriptor: number;
  readonly poller: Poller;
  readonly receive: Receive;
  /** The line is gone, with the reason. Called at most once. */
  readonly lost: (reason: string) => void;
}

/**
 *                readable                        bytes: after an interval
 *  waiting ─────────────────────▶ reading ──────────────────────────────┐
 *     ▲                           │  │  ▲                               │
 *     └───────────────────────────┘  │  └───────────────────────────────┘
 *               nothing there        └─▶ ended   (0 bytes, an error, stop())
 *
 * Reads don't block, so they don't go through Node's thread pool: that takes 30 % of the time, and no read is under way when
 * the descriptor is closed. The intervals of all lines coincide, so that a box with many lines wakes up once for all.
 */
export class TtyReader {
  readonly #options: TtyReaderOptions;
  readonly #buffer = Buffer.allocUnsafeSlow(16 * 1024);
  #readIntervalMs = maxReadIntervalMs;
  #next: NodeJS.Timeout | NodeJS.Immediate | undefined;
  #paused: "no" | "yes" | "missed" = "no";
  #ended = false;

  constructor(options: TtyReaderOptions) {
    this.#options = options;
    this.#wait();
  }

  /** @param baud bits per second; a byte takes ten */
  setBaud(baud: number): void {
    const intervalMs = Math.floor((maxIntervalBytes / (baud / 10)) * 1000);
    this.#readIntervalMs = Math.max(1, Math.min(maxReadIntervalMs, intervalMs));
  }

  /** While a driver is being set up, a read could block the whole process. */
  pause(): void {
    if (this.#paused === "no") this.#paused = "yes";
  }

  resume(): void {
    const missed = this.#paused === "missed";
    this.#paused = "no";
    if (missed) this.#read();
  }

  stop(): void {
    this.#ended = true;
    clearTimeout(this.#next as NodeJS.Timeout);
    clearImmediate(this.#next as NodeJS.Immediate);
  }

  #wait(): void {
    this.#options.poller.once("readable", (error) => {
      if (error) this.#lose(error.message);
      else this.#read();
    });
  }

  readonly #read = (): void => {
    if (this.#ended) return;
    if (this.#paused !== "no") {
      this.#paused = "missed";
      return;
    }
    for (let reads = 0; reads < maxReads; reads++) {
      const count = this.#readOnce();
      if (count === undefined || this.#ended) return;
      if (count === "nothing") {
        this.#wait();
        return;
      }
      if (count < largeReadBytes) {
        // The rest of the interval that all lines share.
        const passedMs = Math.floor(performance.now()) % this.#readIntervalMs;
        this.#next = setTimeout(this.#read, this.#readIntervalMs - passedMs);
        return;
      }
    }
    this.#next = setImmediate(this.#read);
  };

  /** @returns how many bytes were read; undefined if the line is gone */
  #readOnce(): number | "nothing" | undefined {
    let count: number;
    try {
      count = readSync(this.#options.descriptor, this.#buffer, 0, this.#buffer.length, null);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "EAGAIN" || code === "EINTR") return "nothing";
      this.#lose(message);
      return undefined;
    }
    // End of file on a tty is a hang-up: the adapter was unplugged, or the other end of a pseudo-terminal closed.
    if (count === 0) {
      this.#lose("hung up");
      return undefined;
    }
    this.#options.receive(this.#buffer.subarray(0, count));
    return count;
  }

  #lose(reason: string): void {
    if (this.#ended) return;
    this.stop();
    this.#options.lost(reason);
  }
}
