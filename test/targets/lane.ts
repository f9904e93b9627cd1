/** One direction of a serial line: passes bytes on at the line's speed, and does to them what a bad line does. */
import { seeded } from "../support/random.ts";

/** How often each byte meets a mishap, from 0 to 1. */
export interface LineFaults {
  readonly drop: number;
  readonly double: number;
  /** One of its bits is turned over. */
  readonly flip: number;
}

const clean: LineFaults = { drop: 0, double: 0, flip: 0 };
/** How long a line that is slowed down waits between two portions, in milliseconds. */
const tick = 10;
/** So much a lane holds before it asks its source to pause, in bytes: little, as the buffers of an adapter. */
const full = 4096;

export class Lane {
  /** Bytes a second; 11,520 are 115,200 baud. Infinity: at once. */
  bytesPerSecond = Number.POSITIVE_INFINITY;
  /** Called with true when the source has to pause, with false when it may go on. */
  onFull: (isFull: boolean) => void = () => {};
  /** Called with what comes out at the end; false: no more, until `go()`. */
  onBytes: (bytes: Buffer) => boolean = () => true;
  /** Bytes that came out at the end. */
  passed = 0;
  /** Bytes that met a mishap. */
  spoilt = 0;

  #queue: Buffer[] = [];
  #queued = 0;
  #isFull = false;
  #stalled = false;
  #blocked = false;
  #isCut = false;
  #faults = clean;
  #random = seeded(1);
  #timer: NodeJS.Timeout | undefined;
  /** When the line will have sent what it has taken so far, in milliseconds of the monotonic clock. */
  #busyUntil = 0;

  /** From now on bytes meet mishaps; the seed makes them the same in each run. No faults: a clean line again. */
  setFaults(faults: Partial<LineFaults> = {}, seed = 1): void {
    this.#faults = { ...clean, ...faults };
    this.#random = seeded(seed);
  }

  /** Nothing passes while it is stalled, and nothing is lost: the source is paused once the buffer is full. */
  stall(isStalled: boolean): void {
    this.#stalled = isStalled;
    if (!isStalled) this.#run();
  }

  /** What comes while the line is cut is lost, and so is what was under way. */
  cut(isCut: boolean): void {
    this.#isCut = isCut;
    if (isCut) this.clear();
  }

  /** Forgets what is under way. */
  clear(): void {
    this.#queue = [];
    this.#queued = 0;
    this.#signal();
  }

  /** The sink can take more. */
  go(): void {
    this.#blocked = false;
    this.#run();
  }

  push(bytes: Buffer): void {
    if (this.#isCut || bytes.length === 0) return;
    const spoilt = this.#spoil(bytes);
    this.#queue.push(spoilt);
    this.#queued += spoilt.length;
    this.#run();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.onBytes = () => true;
    this.clear();
  }

  #run(): void {
    while (this.#queued > 0 && !this.#stalled && !this.#blocked && this.#timer === undefined) {
      const now = performance.now();
      const portion = Math.max(1, Math.ceil((this.bytesPerSecond * tick) / 1000));
      if (Number.isFinite(this.bytesPerSecond) && this.#busyUntil > now) {
        this.#timer = setTimeout(() => {
          this.#timer = undefined;
          this.#run();
        }, this.#busyUntil - now);
        break;
      }
      const bytes = this.#take(portion);
      // A timer that fires late is made up for, by at most two portions: the speed holds on a busy machine.
      const start = Math.max(this.#busyUntil, now - 2 * tick);
      this.#busyUntil = start + (bytes.length / this.bytesPerSecond) * 1000;
      this.passed += bytes.length;
      this.#blocked = !this.onBytes(bytes);
    }
    this.#signal();
  }

  #take(most: number): Buffer {
    const all = this.#queue.length === 1 ? (this.#queue[0] as Buffer) : Buffer.concat(this.#queue);
    const bytes = all.subarray(0, most);
    const rest = all.subarray(bytes.length);
    this.#queue = rest.length > 0 ? [rest] : [];
    this.#queued = rest.length;
    return bytes;
  }

  #signal(): void {
    const isFull = this.#queued >= full;
    if (isFull === this.#isFull) return;
    this.#isFull = isFull;
    this.onFull(isFull);
  }

  #spoil(bytes: Buffer): Buffer {
    const { drop, double, flip } = this.#faults;
    if (drop === 0 && double === 0 && flip === 0) return bytes;
    const chance = (probability: number) => this.#random(2 ** 24) < probability * 2 ** 24;
    const result: number[] = [];
    for (const byte of bytes) {
      const [isDropped, isFlipped, isDoubled] = [chance(drop), chance(flip), chance(double)];
      if (isDropped || isFlipped || isDoubled) this.spoilt++;
      if (isDropped) continue;
      result.push(isFlipped ? byte ^ (1 << this.#random(8)) : byte);
      if (isDoubled) result.push(byte);
    }
    return Buffer.from(result);
  }
}
