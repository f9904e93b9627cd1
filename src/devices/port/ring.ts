/** The last bytes of a stream with the times they came, found again by their absolute offset. */

export interface Chunk {
  /** Of its first byte, counted from the first byte ever. */
  readonly offset: number;
  /** When it came: Unix milliseconds. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

const defaultSize = 1024 * 1024;
/** How many times are kept. */
const mostMarks = 4096;

/** Takes bytes for ever in bounded memory: as they grow old their times become coarser, then they go. */
export class Ring {
  readonly #bytes: Buffer;
  /** Where bytes of another time begin, ascending, and those times. */
  readonly #offsets = new Float64Array(mostMarks);
  readonly #times = new Float64Array(mostMarks);
  #marks = 0;
  #end = 0;

  /** @param size bytes */
  constructor(size = defaultSize) {
    // Zeroed by the kernel page by page, so that a silent port takes no memory.
    this.#bytes = Buffer.alloc(size);
  }

  /** The offset of the oldest byte that is kept. */
  get start(): number {
    return Math.max(0, this.#end - this.#bytes.length);
  }

  /** The offset that the next byte will have. */
  get end(): number {
    return this.#end;
  }

  append(bytes: Uint8Array, at: number): void {
    if (bytes.length === 0) return;
    if (this.#marks === 0 || this.#times[this.#marks - 1] !== at) this.#mark(at);
    // Of more than fits only the last part counts.
    const kept = bytes.subarray(Math.max(0, bytes.length - this.#bytes.length));
    const position = (this.#end + bytes.length - kept.length) % this.#bytes.length;
    const first = kept.subarray(0, this.#bytes.length - position);
    this.#bytes.set(first, position);
    this.#bytes.set(kept.subarray(first.length), 0);
    this.#end += bytes.length;
  }

  /**
   * A copy of what came at one time.
   *
   * @param from the offset wanted; when it is gone the answer begins later
   * @param most bytes
   * @returns undefined: nothing yet
   */
  read(from: number, most = 64 * 1024): Chunk | undefined {
    const offset = Math.max(from, this.start);
    if (offset >= this.#end) return undefined;
    const mark = this.#markOf(offset);
    const next = mark + 1 < this.#marks ? (this.#offsets[mark + 1] ?? this.#end) : this.#end;
    const position = offset % this.#bytes.length;
    const length = Math.min(next - offset, most, this.#bytes.length - position);
    const bytes = Buffer.from(this.#bytes.subarray(position, position + length));
    return { offset, at: this.#times[mark] ?? 0, bytes };
  }

  #mark(at: number): void {
    if (this.#marks === mostMarks) this.#thinOut();
    this.#offsets[this.#marks] = this.#end;
    this.#times[this.#marks] = at;
    this.#marks += 1;
  }

  /** Forgets the marks of bytes that are gone, then every second one of the older half. */
  #thinOut(): void {
    const gone = Math.max(0, this.#markOf(this.start));
    const half = gone + ((this.#marks - gone) >> 1);
    let kept = 0;
    for (let mark = gone; mark < this.#marks; mark++) {
      if (mark < half && (mark - gone) % 2 === 1) continue;
      this.#offsets[kept] = this.#offsets[mark] ?? 0;
      this.#times[kept] = this.#times[mark] ?? 0;
      kept += 1;
    }
    this.#marks = kept;
  }

  /** The last mark at or before an offset. */
  #markOf(offset: number): number {
    let low = 0;
    let high = this.#marks - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#offsets[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
