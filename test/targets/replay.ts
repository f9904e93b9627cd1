/** Plays a capture's board back through a pty: what came from the board comes again, at the same times or as fast as it goes. */
import { createReadStream } from "node:fs";
import { Duplex } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import { type CaptureRecord, readCapture } from "#/lib/capture.ts";
import type { Broker } from "./broker.ts";
import { type Board, startTarget, type Target, type TargetOptions } from "./target.ts";

export interface ReplayOptions extends TargetOptions {
  /** How many times as fast as it was; Infinity: without any pause. Default: 1. */
  readonly speed?: number;
  /** The board says nothing before it has been sent as many bytes as it had been then; their values don't matter. */
  readonly inStep?: boolean;
}

export interface Replay extends Target {
  /** Resolves when all has been said, since the last power on. */
  readonly played: Promise<void>;
  /** What the host has sent. */
  readonly heard: Buffer;
}

/** @param path of the capture; it begins again with each power on */
export async function startReplay(path: string, options: ReplayOptions = {}): Promise<Replay> {
  const records: CaptureRecord[] = [];
  for await (const record of readCapture(createReadStream(path))) records.push(record);
  let player: Player | undefined;
  const target = await startTarget({ name: "Replay", ...options }, (_, broker) => {
    player = new Player(broker, records, options);
    return player;
  });
  const board = player;
  if (!board) throw new Error("startTarget made no board");
  return Object.defineProperties(target, {
    played: { get: () => board.played },
    heard: { get: () => Buffer.concat(board.heard) },
  }) as Replay;
}

class Player implements Board {
  played: Promise<void> = Promise.resolve();
  readonly heard: Buffer[] = [];
  readonly #broker: Broker;
  readonly #records: readonly CaptureRecord[];
  readonly #options: ReplayOptions;
  #line: Duplex | undefined;
  #stop = new AbortController();
  #heardBytes = 0;
  #onHeard: () => void = () => {};

  constructor(broker: Broker, records: readonly CaptureRecord[], options: ReplayOptions) {
    this.#broker = broker;
    this.#records = records;
    this.#options = options;
  }

  load(): void {}

  async on(): Promise<void> {
    if (this.#line) return;
    this.#stop = new AbortController();
    this.#heardBytes = 0;
    const line = new Duplex({
      read: () => {},
      write: (bytes: Buffer, _, done) => {
        this.heard.push(bytes);
        this.#heardBytes += bytes.length;
        this.#onHeard();
        done();
      },
    });
    this.#line = line;
    this.#broker.attachTarget(line);
    this.played = this.#play(line, this.#stop.signal).catch((error: unknown) => {
      if (!this.#stop.signal.aborted) throw error;
    });
    this.played.catch(() => {});
  }

  async off(): Promise<void> {
    this.#stop.abort();
    const line = this.#line;
    this.#line = undefined;
    const left = line && this.#broker.targetLeft();
    line?.destroy();
    await left;
  }

  async reset(): Promise<void> {
    if (!this.#line) return;
    await this.off();
    await this.on();
  }

  async #play(line: Duplex, signal: AbortSignal): Promise<void> {
    const { speed = 1, inStep = false } = this.#options;
    const start = performance.now();
    let sent = 0;
    for (const { kind, at, bytes } of this.#records) {
      if (kind === "sent") sent += bytes.length;
      if (kind !== "received") continue;
      if (inStep) await this.#hear(sent, signal);
      const due = start + at / speed - performance.now();
      if (due > 0) await wait(due, undefined, { signal });
      signal.throwIfAborted();
      line.push(Buffer.from(bytes));
    }
  }

  #hear(bytes: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = () => reject(signal.reason);
      signal.addEventListener("abort", stop, { once: true });
      this.#onHeard = () => {
        if (this.#heardBytes < bytes) return;
        signal.removeEventListener("abort", stop);
        resolve();
      };
      this.#onHeard();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.off();
  }
}
