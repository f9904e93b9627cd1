/** How much of a build's console has been shown. Gaps that a flood or a lost line leaves in the stream are fetched. */
import { setTimeout as delay } from "node:timers/promises";
import { aborted } from "node:util";
import { ExchangeError } from "#/exchange/errors.ts";
import { maxPieceBytes } from "#/exchange/message.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import type { BuildResults } from "../transfer/results.ts";

export interface ShownConsoleOptions {
  readonly show: (text: string) => void;
  readonly warn: (text: string) => void;
  /** Where the build's results can be had; undefined: nowhere now. Absent: the stream leaves nothing out. */
  readonly results?: () => Promise<BuildResults | undefined>;
}

/** How long to try for the end: the agent may be on its way back to its job server. */
const endTimeoutMs = 10_000;
const retryIntervalMs = 500;

export class ShownConsole {
  readonly #options: ShownConsoleOptions;
  /** Of what is fetched, which may be cut within a character. */
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #offset = 0;
  #leftOut = 0;
  readonly #hurried = new AbortController();
  #isUncertain = false;

  constructor(options: ShownConsoleOptions) {
    this.#options = options;
  }

  /** Up to where it has been shown or left out, in bytes. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes. */
  get leftOut(): number {
    return this.#leftOut;
  }

  /** Gaps are no longer filled. */
  hurry(): void {
    this.#hurried.abort();
  }

  /** A piece may have been lost on its way. The offset of the next one tells; behind the last one there is none. */
  doubt(): void {
    this.#isUncertain = true;
  }

  /** Shows what may be missing at the end of a build that has ended. @returns false when that can't be had in time */
  async finish(): Promise<boolean> {
    const { results } = this.#options;
    if (!this.#isUncertain || !results) return true;
    const signal = AbortSignal.any([this.#hurried.signal, AbortSignal.timeout(endTimeoutMs)]);
    const late = aborted(signal, this).then(() => false);
    return await Promise.race([this.#fetchEnd(results, signal), late]);
  }

  /** Shows a piece of the stream, after what is missing before it. */
  async take(text: string, at: number = this.#offset): Promise<void> {
    if (at > this.#offset) await this.#fill(at);
    const missed = at - this.#offset;
    // A client that submits a running build's unique joins that build in the middle.
    const why = this.#offset === 0 ? "came before this" : "came too fast and are not shown here";
    if (missed > 0) this.#options.warn(`${missed} bytes ${why}`);
    this.#leftOut += Math.max(0, missed);
    this.#offset = at + Buffer.byteLength(text);
    this.#isUncertain = false;
    this.#options.show(text);
  }

  /** Shows what was fetched from `offset` on. */
  takeBytes(bytes: Uint8Array): void {
    this.#offset += bytes.length;
    this.#isUncertain = false;
    const text = this.#decoder.decode(bytes, { stream: true });
    if (text !== "") this.#options.show(text);
  }

  async #fill(until: number): Promise<void> {
    try {
      const results = await this.#options.results?.();
      while (results && this.#offset < until && !this.#hurried.signal.aborted) {
        const length = Math.min(maxPieceBytes, until - this.#offset);
        const { bytes } = await results.piece("console", this.#offset, length);
        if (bytes.length === 0) return;
        this.takeBytes(bytes);
      }
    } catch (error) {
      if (!(error instanceof GearmanError || error instanceof ExchangeError)) throw error;
    }
  }

  async #fetchEnd(
    findResults: NonNullable<ShownConsoleOptions["results"]>,
    signal: AbortSignal,
  ): Promise<boolean> {
    while (!signal.aborted) {
      try {
        const results = await findResults();
        while (results && !signal.aborted) {
          const { bytes, end } = await results.piece("console", this.#offset);
          if (signal.aborted) return false;
          this.takeBytes(bytes);
          if (end || bytes.length === 0) return true;
        }
      } catch (error) {
        if (error instanceof ExchangeError) return false;
        if (!(error instanceof GearmanError)) throw error;
      }
      await delay(retryIntervalMs, undefined, { signal }).catch(() => {});
    }
    return false;
  }
}
