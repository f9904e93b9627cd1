/**
 * When the box does what a client did: with the spacing it was done with, after a delay that follows the network's jitter. Only
 * what depends on time waits: a change of a control line, and what follows one closely. Everything else is done at once.
 *
 * As in RTP (RFC 3550, A.8; "playout delay"), the least transit time of late is the network's own, and what messages take beyond
 * it is jitter. All of it is by two clocks that run at the same speed and stand apart by an unknown time.
 */
import type { Operation } from "./typing.ts";

/** Messages of which the transit times count. */
const maxTransits = 64;
/** The delay never exceeds this, however bad the network is. */
const maxJitterMs = 500;
/** How long after a change of a control line the spacing still matters. */
const timedForMs = 1000;

const timed: ReadonlySet<Operation["op"]> = new Set(["dtr", "rts", "break", "baud", "format", "flow"]);

export class PlayOut {
  readonly #transits: number[] = [];
  /** Of the burst that is under way: the box's clock less the client's. */
  #lag: number | undefined;
  /** By the client's clock: until then the spacing matters. */
  #timedUntil = Number.NEGATIVE_INFINITY;

  /** A message of this moment, by the client's clock, has come. Both in milliseconds. */
  heard(sentMs: number, nowMs: number): void {
    this.#transits.push(nowMs - sentMs);
    if (this.#transits.length > maxTransits) this.#transits.shift();
  }

  /** What messages take beyond the least time, in milliseconds. */
  get jitterMs(): number {
    const least = Math.min(...this.#transits);
    return Math.min(maxJitterMs, Math.max(0, Math.max(...this.#transits) - least));
  }

  /** @returns when to do it, by the box's clock in milliseconds; what is past means at once */
  due(operation: Operation, nowMs: number): number {
    const atMs = operation.at / 1000;
    const isTimed = timed.has(operation.op);
    if (!isTimed && atMs > this.#timedUntil) return nowMs;
    // A new burst begins: it gets the whole delay, so that none of its messages is late.
    if (atMs > this.#timedUntil || this.#lag === undefined)
      this.#lag = Math.max(Math.min(...this.#transits) + this.jitterMs, nowMs - atMs);
    if (isTimed) this.#timedUntil = atMs + timedForMs;
    // One that is late delays what follows, so that the spacing stays.
    this.#lag = Math.max(this.#lag, nowMs - atMs);
    return atMs + this.#lag;
  }
}
