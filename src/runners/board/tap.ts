/** Reads a board in the background: for the build's console, and for whoever looks for something in it. */
import type { BoardRun } from "./board.ts";

/** A silence after which what came so far is looked at as it is, in milliseconds. */
export const quiet = 200;

export interface Taker {
  feed(bytes: Uint8Array): void;
  quiet(): void;
}

/** Reads from its making until it is disposed of; nobody else may read the line meanwhile. */
export class Tap implements AsyncDisposable {
  readonly #run: BoardRun;
  readonly #taker: Taker;
  readonly #stopping = new AbortController();
  readonly #loop: Promise<void>;

  constructor(run: BoardRun, taker: Taker) {
    this.#run = run;
    this.#taker = taker;
    this.#loop = this.#read();
    // Who waits for the work asks by race().
    this.#loop.catch(() => {});
  }

  /**
   * What the work comes to, unless the reading fails before.
   * @throws BoardFailure unplugged; what the build's console threw
   */
  async race<T>(work: Promise<T>): Promise<T> {
    const failed = this.#loop.then(() => work);
    return await Promise.race([work, failed]);
  }

  async #read(): Promise<void> {
    const { signal } = this.#stopping;
    const { reservation, output } = this.#run;
    while (!signal.aborted) {
      const bytes = await reservation.line.read(quiet, signal).catch((error) => {
        if (signal.aborted) return undefined;
        throw reservation.lost.aborted ? reservation.lost.reason : error;
      });
      if (!bytes) return;
      if (bytes.length === 0) this.#taker.quiet();
      else {
        await output(bytes);
        this.#taker.feed(bytes);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#loop.catch(() => {});
  }
}
