/** The last of a build's console, as it came by the job server: enough for viewers that keep up. The rest is fetched from the agent. */

export interface OutputPiece {
  /** Where in the console it begins, in bytes. */
  readonly offset: number;
  readonly bytes: Buffer;
}

const maxBytes = 512 * 1024;

export class RecentOutput {
  #pieces: OutputPiece[] = [];
  #size = 0;
  /** Counts consoles: a build that moves to another agent begins anew. */
  generation = 0;

  /** Up to where it is known, in bytes. */
  get end(): number {
    const last = this.#pieces.at(-1);
    return last ? last.offset + last.bytes.length : 0;
  }

  reset(): void {
    this.generation += 1;
    this.#clear();
  }

  push(offset: number, bytes: Buffer): void {
    // What the stream left out is between them.
    if (offset !== this.end) this.#clear();
    this.#pieces.push({ offset, bytes });
    this.#size += bytes.length;
    while (this.#size > maxBytes && this.#pieces.length > 1)
      this.#size -= this.#pieces.shift()?.bytes.length ?? 0;
  }

  /** @returns the piece that has this byte, from it on; undefined: it isn't here */
  from(offset: number): OutputPiece | undefined {
    const piece = this.#pieces.find((one) => offset >= one.offset && offset < one.offset + one.bytes.length);
    return piece && { offset, bytes: piece.bytes.subarray(offset - piece.offset) };
  }

  #clear(): void {
    this.#pieces = [];
    this.#size = 0;
  }
}
