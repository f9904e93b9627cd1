/** The latest bytes of a stream with their times, addressed by absolute offset. */

export interface Chunk {
  /** Of its first byte, counted from the start of the stream. */
  readonly offset: number;
  /** When it was received, in Unix milliseconds. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

const defaultSizeBytes = 1024 * 1024;
/** Of the times that are kept. */
const maxMarks = 4096;

/** Takes any number of bytes in bounded memory: the times of older bytes become coarser, then the bytes go. */
export class Ring {
  readonly #bytes: Buffer;
  /** Offsets at which the time changes, ascending, and those times. */
  readonly #offsets = new Float64Array(maxMarks);
  readonly #times = new Float64Array(maxMarks);
  #marks = 0;
  #end = 0;

  constructor(sizeBytes = defaultSizeBytes) {
    // The kernel zeroes its pages as they are used: a silent port takes no memory.
    this.#bytes = Buffer.alloc(sizeBytes);
  }

  /** Of the oldest byte that is kept. */
  get start(): number {
    return Math.max(0, this.#end - this.#bytes.length);
  }

  /** Of the next byte. */
  get end(): number {
    return this.#end;
  }

  append(bytes: Uint8Array, at: number): void {
    if (bytes.length === 0) return;
    if (this.#marks === 0 || this.#times[this.#marks - 1] !== at) this.#mark(at);
    // Only the end of what doesn't fit is kept.
    const kept = bytes.subarray(Math.max(0, bytes.length - this.#bytes.length));
    const position = (this.#end + bytes.length - kept.length) % this.#bytes.length;
    const first = kept.subarray(0, this.#bytes.length - position);
    this.#bytes.set(first, position);
    this.#bytes.set(kept.subarray(first.length), 0);
    this.#end += bytes.length;
  }

  /**
   * A copy of bytes with the same time.
   *
   * @param from an offset; if its byte is gone, the chunk starts at the oldest one
   * @returns undefined if there is nothing yet
   */
  read(from: number, maxBytes = 64 * 1024): Chunk | undefined {
    const offset = Math.max(from, this.start);
    if (offset >= this.#end) return undefined;
    const mark = this.#markOf(offset);
    const next = mark + 1 < this.#marks ? (this.#offsets[mark + 1] ?? this.#end) : this.#end;
    const position = offset % this.#bytes.length;
    const length = Math.min(next - offset, maxBytes, this.#bytes.length - position);
    const bytes = Buffer.from(this.#bytes.subarray(position, position + length));
    return { offset, at: this.#times[mark] ?? 0, bytes };
  }

  /**
   * A copy of bytes whatever their times.
   * @param from as read() has it
   */
  piece(from: number, maxBytes: number): { readonly offset: number; readonly bytes: Buffer } {
    const offset = Math.max(from, this.start);
    const chunks: Uint8Array[] = [];
    let at = offset;
    while (at - offset < maxBytes) {
      const chunk = this.read(at, maxBytes - (at - offset));
      if (!chunk) break;
      chunks.push(chunk.bytes);
      at += chunk.bytes.length;
    }
    return { offset, bytes: Buffer.concat(chunks) };
  }

  #mark(at: number): void {
    if (this.#marks === maxMarks) this.#thinOut();
    this.#offsets[this.#marks] = this.#end;
    this.#times[this.#marks] = at;
    this.#marks += 1;
  }

  /** Drops the marks of bytes that are gone, then every second one of the older half. */
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
