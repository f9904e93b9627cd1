/** How much of a build's console has been shown. Gaps that a flood leaves in the stream are fetched. */
import { ExchangeError } from "#/exchange/errors.ts";
import { maxPieceBytes } from "#/exchange/message.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import type { BuildResults } from "../transfer/results.ts";

export interface ShownConsoleOptions {
  readonly show: (text: string) => void;
  readonly warn: (text: string) => void;
  /** Where the build's results can be had; undefined: nowhere now. */
  readonly results: () => Promise<BuildResults | undefined>;
}

export class ShownConsole {
  readonly #options: ShownConsoleOptions;
  /** Of what is fetched, which may be cut within a character. */
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #offset = 0;
  #leftOut = 0;
  #hurried = false;

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
    this.#hurried = true;
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
    this.#options.show(text);
  }

  /** Shows what was fetched from `offset` on. */
  takeBytes(bytes: Uint8Array): void {
    this.#offset += bytes.length;
    const text = this.#decoder.decode(bytes, { stream: true });
    if (text !== "") this.#options.show(text);
  }

  async #fill(until: number): Promise<void> {
    try {
      const results = await this.#options.results();
      while (results && this.#offset < until && !this.#hurried) {
        const length = Math.min(maxPieceBytes, until - this.#offset);
        const { bytes } = await results.piece("console", this.#offset, length);
        if (bytes.length === 0) return;
        this.takeBytes(bytes);
      }
    } catch (error) {
      if (!(error instanceof GearmanError || error instanceof ExchangeError)) throw error;
    }
  }
}
