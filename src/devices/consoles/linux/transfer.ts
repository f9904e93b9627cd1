/** A transfer from the board: puts the frames of its segments in order, and knows what to ask for next. */
import type { Dialogue } from "../dialogue.ts";
import { type Frame, maxFrameBytes, unitBytes } from "./framing.ts";

/** Segment, unit, units of a frame, frames. */
type Request = readonly [number, number, number, number];

const maxUnits = maxFrameBytes / unitBytes;
const minUnits = 2;
/** Of one request. */
const maxFrames = 8;

export class Transfer {
  /** Bytes that were passed on. */
  received = 0;
  /** Units of a frame: as many as the line carries undamaged. */
  #units = 16;
  #segment = 0;
  #unit: number;
  /** Frames that came before their turn. */
  readonly #early: Frame[] = [];
  #size: number | undefined;
  /** Frames of the last request that were of use. */
  #useful = 0;
  readonly #pass: (bytes: Uint8Array) => Dialogue<void>;

  /**
   * @param pass takes the bytes in order
   * @param from the unit of segment 0 to start at
   */
  constructor(pass: (bytes: Uint8Array) => Dialogue<void>, from = 0) {
    this.#pass = pass;
    this.#unit = from;
  }

  request(): Request {
    this.#useful = 0;
    const gap = this.#gap();
    if (gap === undefined) return [this.#segment, this.#unit, this.#units, maxFrames];
    const units = Math.min(this.#units, gap);
    return [this.#segment, this.#unit, units, Math.min(maxFrames, Math.ceil(gap / units))];
  }

  /** The request after one without an answer. */
  retry(): Request {
    this.#halveUnits();
    return this.request();
  }

  /** Passes on the frame's bytes and those of the frames after it, once it is their turn. @returns whether it was of use */
  *take(frame: Frame): Dialogue<boolean> {
    const isKnown = frame.segment < this.#segment;
    if (isKnown || (frame.segment === this.#segment && endOf(frame) <= this.#unit)) return false;
    if (this.#early.length >= 2 * maxFrames) return false;
    this.#early.push(frame);
    this.#useful++;
    for (let next = this.#next(); next; next = this.#next()) {
      const bytes = next.bytes.subarray((this.#unit - next.unit) * unitBytes);
      this.#size = next.size;
      this.#unit = endOf(next);
      if (this.#unit * unitBytes >= next.size) {
        this.#segment++;
        this.#unit = 0;
        this.#size = undefined;
      }
      this.received += bytes.length;
      if (bytes.length > 0) yield* this.#pass(bytes);
    }
    return true;
  }

  /** Adapts the frames to what arrived. @returns whether everything up to where the board stopped has arrived */
  settle(segment: number, unit: number): boolean {
    const isWhole = this.#segment === segment && this.#unit === unit;
    if (!isWhole) this.#halveUnits();
    else if (this.#useful > 0) this.#units = Math.min(maxUnits, this.#units * 2);
    return isWhole;
  }

  /** The same for a file, which is a single segment. */
  settleFile(unit: number, size: number): boolean {
    return unit * unitBytes >= size ? this.settle(1, 0) : this.settle(0, unit);
  }

  #halveUnits(): void {
    this.#units = Math.max(minUnits, Math.floor(this.#units / 2));
  }

  /** Removes and returns the frame whose turn it is; drops frames that are of no use any more. */
  #next(): Frame | undefined {
    for (let index = 0; index < this.#early.length; index++) {
      const frame = this.#early[index];
      if (!frame || frame.segment > this.#segment) continue;
      if (frame.segment === this.#segment && frame.unit > this.#unit) continue;
      this.#early.splice(index--, 1);
      if (frame.segment === this.#segment && endOf(frame) > this.#unit) return frame;
    }
    return undefined;
  }

  /** How many units are missing before an early frame; undefined when there is none. */
  #gap(): number | undefined {
    if (this.#early.length === 0) return undefined;
    const here = this.#early.filter((frame) => frame.segment === this.#segment).map((frame) => frame.unit);
    const size = this.#size === undefined ? [] : [Math.ceil(this.#size / unitBytes)];
    const ends = [...here, ...size];
    return ends.length === 0 ? this.#units : Math.min(...ends) - this.#unit;
  }
}

/** The unit after the frame's last one, which may be short. */
function endOf(frame: Frame): number {
  return frame.unit + Math.max(1, Math.ceil(frame.bytes.length / unitBytes));
}
