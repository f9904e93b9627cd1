/** Where a console's lines begin. Lines are counted on demand, and the offset of every thousandth is kept. */
import type { FileHandle } from "node:fs/promises";
import { SectionIndex } from "./sections.ts";

/** Bytes read at once. */
export const pieceSize = 256 * 1024;

/** A place in a console whose line number is known; lines are counted from 0. */
export interface Place {
  readonly line: number;
  readonly offset: number;
}

const newline = 10;
const firstStride = 1000;
/** Half a megabyte; beyond it every second place is dropped. */
const maxPlaces = 65_536;

export class LineIndex {
  readonly sections = new SectionIndex();
  /** Offsets of the lines 0, stride, 2 × stride, … */
  #places: number[] = [0];
  #stride = firstStride;
  /** How many line ends are counted, and up to which offset. */
  #ends = 0;
  #scanned = 0;
  #lastEnd = 0;
  #turn: Promise<void> = Promise.resolve();

  get scanned(): number {
    return this.#scanned;
  }

  /** The lines counted so far, with a last one that has no end. */
  get lines(): number {
    return this.#ends + (this.#scanned > this.#lastEnd ? 1 : 0);
  }

  /**
   * Counts until the size is reached or it is enough. Calls run one after another, and each goes on where the last one ended.
   * @param size the console's bytes
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
    // Byte by byte: that takes the same time for any lines.
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

  /** The last known place at or before a line. */
  placeOfLine(line: number): Place {
    const index = Math.min(this.#places.length - 1, Math.floor(line / this.#stride));
    return { line: index * this.#stride, offset: this.#places[index] ?? 0 };
  }

  /** The last known place at or before an offset. */
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

/** The indexes of the consoles that were used last. */
export class LineIndexes {
  readonly #kept = new Map<string, LineIndex>();
  readonly #max: number;

  constructor(max = 32) {
    this.#max = max;
  }

  /** @param name the console's, such as its folder */
  of(name: string): LineIndex {
    const index = this.#kept.get(name) ?? new LineIndex();
    this.#kept.delete(name);
    this.#kept.set(name, index);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > this.#max && oldest !== undefined) this.#kept.delete(oldest);
    return index;
  }
}
