/** Where the lines of a console begin: counted when somebody asks, and every so many of them noted. */
import type { FileHandle } from "node:fs/promises";

/** How much is read at once, in bytes. */
export const pieceSize = 256 * 1024;

/** A place in a console whose line number is known; lines are counted from 0. */
export interface Place {
  readonly line: number;
  readonly offset: number;
}

const newline = 10;
const firstStride = 1000;
/** How many places are noted before every second one is forgotten: half a megabyte. */
const maxPlaces = 65_536;

export class LineIndex {
  /** Offsets of the lines 0, stride, 2 × stride, … */
  #places: number[] = [0];
  #stride = firstStride;
  /** Line ends that were counted, and up to where. */
  #ends = 0;
  #scanned = 0;
  #lastEnd = 0;
  #turn: Promise<void> = Promise.resolve();

  get scanned(): number {
    return this.#scanned;
  }

  /** How many lines there are up to where it was counted; one without an end counts. */
  get lines(): number {
    return this.#ends + (this.#scanned > this.#lastEnd ? 1 : 0);
  }

  /**
   * Counts on, until the size is reached or it is enough. One after the other; each sees what the one before has counted.
   * @param size bytes of the console that there are
   */
  async extend(
    file: FileHandle,
    size: number,
    isEnough: () => boolean = () => false,
    signal?: AbortSignal,
  ): Promise<void> {
    const before = this.#turn;
    const done = Promise.withResolvers<void>();
    this.#turn = done.promise;
    try {
      await before;
      const buffer = Buffer.allocUnsafe(pieceSize);
      while (this.#scanned < size && !isEnough() && !signal?.aborted) {
        const wanted = Math.min(buffer.length, size - this.#scanned);
        const { bytesRead } = await file.read(buffer, 0, wanted, this.#scanned);
        if (bytesRead === 0) return;
        this.#count(buffer.subarray(0, bytesRead));
      }
    } finally {
      done.resolve();
    }
  }

  #count(bytes: Uint8Array): void {
    // One by one: that takes the same time whatever the lines are like.
    for (let at = 0; at < bytes.length; at++) {
      if (bytes[at] !== newline) continue;
      this.#ends += 1;
      this.#lastEnd = this.#scanned + at + 1;
      if (this.#ends % this.#stride === 0) this.#note(this.#lastEnd);
    }
    this.#scanned += bytes.length;
  }

  #note(offset: number): void {
    this.#places.push(offset);
    if (this.#places.length < maxPlaces) return;
    this.#places = this.#places.filter((_, index) => index % 2 === 0);
    this.#stride *= 2;
  }

  /** The last noted place at or before a line. */
  placeOfLine(line: number): Place {
    const index = Math.min(this.#places.length - 1, Math.floor(line / this.#stride));
    return { line: index * this.#stride, offset: this.#places[index] ?? 0 };
  }

  /** The last noted place at or before an offset. */
  placeOfOffset(offset: number): Place {
    let low = 0;
    let high = this.#places.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#places[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low * this.#stride, offset: this.#places[low] ?? 0 };
  }
}

/** The indexes of the consoles that were looked at last. */
export class LineIndexes {
  readonly #kept = new Map<string, LineIndex>();
  readonly #max: number;

  constructor(max = 32) {
    this.#max = max;
  }

  /** @param name of the build */
  of(name: string): LineIndex {
    const index = this.#kept.get(name) ?? new LineIndex();
    this.#kept.delete(name);
    this.#kept.set(name, index);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > this.#max && oldest !== undefined) this.#kept.delete(oldest);
    return index;
  }
}
