/** Bytes gathered from pieces into one buffer, in linear time and with a limit. */

/** Grows by doubling up to its limit, so that neither many small pieces nor a large promise cost much. */
export class Gathering {
  readonly limit: number;
  #buffer: Buffer;
  #length = 0;

  /** @param limit the most bytes it will ever hold */
  constructor(limit: number) {
    this.limit = limit;
    this.#buffer = Buffer.allocUnsafeSlow(Math.min(limit, 256));
  }

  get length(): number {
    return this.#length;
  }

  /** Copies bytes of the piece until the limit is reached; gives how many were copied. */
  take(piece: Buffer): number {
    const count = Math.min(piece.length, this.limit - this.#length);
    const needed = this.#length + count;
    if (needed > this.#buffer.length) this.#grow(needed);
    piece.copy(this.#buffer, this.#length, 0, count);
    this.#length = needed;
    return count;
  }

  /** The bytes held so far: a view, not a copy. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #grow(needed: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.min(this.limit, Math.max(needed, this.#buffer.length * 2)));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}
