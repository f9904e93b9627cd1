/** Puts the frames of a board's segments in order, and knows what to ask for next. */
import type { Dialogue } from "./dialogue.ts";
import { type Answer, unit } from "./linux/framing.ts";
import { largestFrame } from "./linux/session.ts";

type Frame = Extract<Answer, { kind: "frame" }>;
type Request = readonly [number, number, number, number];

const mostUnits = largestFrame / unit;
const fewestUnits = 2;
/** Frames that are sent for one request. */
const batch = 8;

export class Pull {
  /** Bytes that went on. */
  received = 0;
  /** Units of a frame: as many as the line carries unharmed. */
  #units = 16;
  #segment = 0;
  #unit: number;
  /** Frames that came before their turn; never more than a batch. */
  readonly #early: Frame[] = [];
  #size: number | undefined;
  #useful = 0;

  readonly #pass: (bytes: Uint8Array) => Dialogue<void>;

  /**
   * @param pass takes the bytes in their order
   * @param from the unit of segment 0 to begin at
   */
  constructor(pass: (bytes: Uint8Array) => Dialogue<void>, from = 0) {
    this.#pass = pass;
    this.#unit = from;
  }

  /** Segment, unit, units of a frame, frames. */
  request(): Request {
    this.#useful = 0;
    const gap = this.#gap();
    const units = Math.min(this.#units, gap ?? this.#units);
    return [
      this.#segment,
      this.#unit,
      units,
      gap === undefined ? batch : Math.min(batch, Math.ceil(gap / units)),
    ];
  }

  /** The request again, when no answer or no whole one came. */
  retry(): Request {
    this.#units = Math.max(fewestUnits, Math.floor(this.#units / 2));
    return this.request();
  }

  /** Passes on the frame's bytes, and those of frames that waited for it, when it is its turn. */
  *take(frame: Frame): Dialogue<boolean> {
    const before = frame.segment < this.#segment;
    if (before || (frame.segment === this.#segment && endOf(frame) <= this.#unit)) return false;
    if (this.#early.length >= 2 * batch) return false;
    this.#early.push(frame);
    this.#useful++;
    for (let next = this.#next(); next; next = this.#next()) {
      const bytes = next.bytes.subarray((this.#unit - next.unit) * unit);
      this.#size = next.size;
      this.#unit = endOf(next);
      if (this.#unit * unit >= next.size) {
        this.#segment++;
        this.#unit = 0;
        this.#size = undefined;
      }
      this.received += bytes.length;
      if (bytes.length > 0) yield* this.#pass(bytes);
    }
    return true;
  }

  /**
   * Compares with where the board stopped.
   * @returns whether everything before that has come
   */
  settle(segment: number, place: number): boolean {
    const whole = this.#segment === segment && this.#unit === place;
    if (!whole) this.#units = Math.max(fewestUnits, Math.floor(this.#units / 2));
    else if (this.#useful > 0) this.#units = Math.min(mostUnits, this.#units * 2);
    return whole;
  }

  /** The same for a file, which is one segment. */
  settleAt(place: number, size: number): boolean {
    return place * unit >= size ? this.settle(1, 0) : this.settle(0, place);
  }

  /** The frame whose turn it is, taken out of those that wait; useless ones go. */
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

  /** Units that are missing before what came early; undefined when nothing did. */
  #gap(): number | undefined {
    if (this.#early.length === 0) return undefined;
    const here = this.#early.filter((frame) => frame.segment === this.#segment).map((frame) => frame.unit);
    const size = this.#size === undefined ? [] : [Math.ceil(this.#size / unit)];
    const ends = [...here, ...size];
    return ends.length === 0 ? this.#units : Math.min(...ends) - this.#unit;
  }
}

/** The unit after the frame's last, which may be a short one. */
function endOf(frame: Frame): number {
  return frame.unit + Math.max(1, Math.ceil(frame.bytes.length / unit));
}
