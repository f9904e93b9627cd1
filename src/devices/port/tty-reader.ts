/** Reads a tty at the least cost: at once when a silent line speaks, and a few times each tenth of a second while it goes on. */
import { readSync } from "node:fs";
import type { Receive } from "./line.ts";

/** Tells once that the descriptor can be read, or with an error that it never will be. */
export interface Poller {
  once(event: "readable", ready: (error: Error | null) => void): unknown;
}

/** Milliseconds between reads of a line that goes on. */
const beat = 8;
/** How many bytes may come in a beat: the kernel holds 4,095 for a reader, and adapters without flow control lose what is beyond. */
const mostInBeat = 2048;
/** A read of so much means that more is waiting. */
const large = 1024;
/** Reads in a row before others get their turn. */
const mostReads = 16;

export interface TtyReaderOptions {
  /** Opened with O_NONBLOCK. */
  readonly descriptor: number;
  readonly poller: Poller;
  readonly receive: Receive;
  /** The line is gone, with the reason. Called once at most. */
  readonly lost: (reason: string) => void;
}

/**
 *                readable                        bytes: after a beat
 *  waiting ─────────────────────▶ reading ──────────────────────────────┐
 *     ▲                           │  │  ▲                               │
 *     └───────────────────────────┘  │  └───────────────────────────────┘
 *               nothing there        └─▶ ended   (0 bytes, an error, stop())
 *
 * Reading doesn't block and so is done right here, without Node's thread pool: three tenths of the cost. It also means that
 * nothing is under way when the descriptor is closed. Beats of all lines fall together, so that a box with many of them wakes up
 * once for all.
 */
export class TtyReader {
  readonly #options: TtyReaderOptions;
  readonly #buffer = Buffer.allocUnsafeSlow(16 * 1024);
  #beat = beat;
  #next: NodeJS.Timeout | NodeJS.Immediate | undefined;
  #paused: "no" | "yes" | "missed" = "no";
  #ended = false;

  constructor(options: TtyReaderOptions) {
    this.#options = options;
    this.#wait();
  }

  /** @param baud bits per second, ten for a byte */
  setBaud(baud: number): void {
    this.#beat = Math.max(1, Math.min(beat, Math.floor((mostInBeat / (baud / 10)) * 1000)));
  }

  /** While a driver is set up a read could wait for it, and everything else with it. */
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
    for (let reads = 0; reads < mostReads; reads++) {
      const count = this.#readOnce();
      if (count === undefined || this.#ended) return;
      if (count === "nothing") {
        this.#wait();
        return;
      }
      if (count < large) {
        // What is left of the beat that all lines share.
        this.#next = setTimeout(this.#read, this.#beat - (Math.floor(performance.now()) % this.#beat));
        return;
      }
    }
    this.#next = setImmediate(this.#read);
  };

  /** @returns how many bytes were handed on; undefined: the line is gone */
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
    // The end of a tty is a hang-up: the adapter was pulled, or the other end of a pseudo-terminal is closed.
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
