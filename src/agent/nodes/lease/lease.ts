/** A lease while it lasts: what its holder typed, in order and in time, and when it ends. */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Build } from "#/builds/build.ts";
import type { Device } from "#/devices/device.ts";
import type { PortWriter } from "#/devices/port/writer.ts";
import type { Reservation } from "#/devices/reservation.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import type { LeaseNews, LeaseTerms, LineStatus } from "#/exchange/lease.ts";
import { PlayOut } from "#/exchange/play-out.ts";
import { type Operation, parseBurst, parseOrders, type Typed, type Typing } from "#/exchange/typing.ts";
import { Condition } from "#/lib/condition.ts";
import type { LeaseStatus } from "#/lib/status.ts";
import { formatSeconds } from "#/lib/units.ts";
import type { JobReport } from "../job-report.ts";
import type { LeaseFiles } from "./files.ts";
import { operate } from "./operate.ts";

export interface LeaseOptions {
  readonly build: Build;
  readonly terms: LeaseTerms;
  readonly device: Device;
  readonly report: JobReport;
  readonly files: LeaseFiles;
  readonly maxMs: number;
}

/** What is typed and not done yet, in bytes of messages. */
const maxQueuedBytes = 1024 * 1024;
/** How long what was typed before a release has to be done. */
const releaseTimeoutMs = 2000;
/** A timer is late rather than early, and on a busy machine by a millisecond. */
const minDelayMs = 1;
/** Between reports of how far a file is. */
const progressIntervalMs = 250;

/**
 *     waiting ──the board is reserved──▶ held ──release, its time is over──▶ over
 *        └─────────────────────── the build's signal ──────────────────────▶ over
 */
type LeaseState =
  | { readonly kind: "waiting" | "over" }
  /** Times are by performance.now(). */
  | { readonly kind: "held"; readonly begun: number; readonly until: number; readonly lent: Lent };

/** The board's line for another process of the holder. */
interface Lent {
  readonly writer: PortWriter;
  /** Aborts with the lease. */
  readonly over: AbortSignal;
}

interface Queued {
  readonly sequence: number;
  readonly bytes: number;
  operations: readonly Operation[];
}

export class Lease {
  readonly session = randomBytes(16).toString("hex");
  readonly build: Build;
  readonly terms: LeaseTerms;
  /** What its holder has set. */
  readonly changedLines = new Set<"dtr" | "rts">();
  readonly #options: LeaseOptions;
  readonly #playOut = new PlayOut();
  readonly #changed = new Condition();
  #state: LeaseState = { kind: "waiting" };
  #queue: Queued[] = [];
  #queuedBytes = 0;
  #next = 1;
  #done = 0;
  /** Of the latest message, in Unix milliseconds by the client. */
  #heardTime = 0;
  #release: string | undefined;
  /** Set while a file is on its way; a purge ends that. */
  #transfer: AbortController | undefined;
  #drainUntil: number | undefined;
  #endTimer: NodeJS.Timeout | undefined;
  #releaseTimer: NodeJS.Timeout | undefined;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.build = options.build;
    this.terms = options.terms;
  }

  get device(): string {
    return this.#options.device.name;
  }

  get files(): LeaseFiles {
    return this.#options.files;
  }

  /** Milliseconds to its end; undefined: it hasn't begun. */
  get leftMs(): number | undefined {
    if (this.#state.kind !== "held") return undefined;
    const { until } = this.#state;
    return Math.max(0, Math.round(Math.min(until, this.#drainUntil ?? until) - performance.now()));
  }

  /** Undefined: it isn't held. */
  get lent(): Lent | undefined {
    return this.#state.kind === "held" ? this.#state.lent : undefined;
  }

  /** Since the agent drains; by performance.now(). */
  set drainUntil(until: number | undefined) {
    if (until === this.#drainUntil) return;
    this.#drainUntil = until;
    if (this.#state.kind !== "held") return;
    this.#armEnd();
    if (this.#isCutShort) this.#note("the box is being drained");
  }

  /** Whether the drain ends it, and not its own time. */
  get #isCutShort(): boolean {
    const { kind } = this.#state;
    return kind === "held" && this.#drainUntil !== undefined && this.#drainUntil < this.#state.until;
  }

  /** Who has the board until when, and why. */
  get status(): LeaseStatus {
    const { who, reason } = this.terms;
    const { leftMs } = this;
    const until = leftMs === undefined ? {} : { until: new Date(Date.now() + leftMs).toISOString() };
    return { who, reason, ...until };
  }

  /** Its client has given a sign of life. */
  heard(): void {
    this.#options.report.heard();
  }

  /** Says how it stands, in its data. */
  announce(): void {
    this.#options.report.announce(() => ({ lease: this.#news() }));
  }

  announceLines(lines: LineStatus): void {
    void this.#options.report.send({ lines });
  }

  #news(): LeaseNews {
    const { device } = this.#options;
    const { leftMs, session } = this;
    const { baud } = device.config.port;
    const left = leftMs === undefined ? {} : { left: leftMs, ...(this.#isCutShort && { draining: leftMs }) };
    return { session, device: device.name, baud, ...left };
  }

  /** The board is reserved: the time begins. */
  begin(lent: Lent): void {
    const { terms, maxMs } = this.#options;
    const begun = performance.now();
    this.#state = { kind: "held", begun, until: begun + Math.min(terms.forMs ?? maxMs, maxMs), lent };
    this.#armEnd();
  }

  #armEnd(): void {
    const { leftMs, build } = this;
    clearTimeout(this.#endTimer);
    this.#endTimer = setTimeout(() => {
      const reason = this.#isCutShort ? "the box is being drained" : "the lease's time is over";
      build.stop({ kind: "timed-out", reason });
    }, leftMs);
    this.announce();
  }

  /**
   * Takes a message that is known to be the holder's.
   * @returns whether it is a sign of life, which an earlier one that comes again isn't, and what to answer
   * @throws ExchangeError
   */
  take(typing: Typing): { readonly isLate: boolean; readonly typed: Typed } {
    if (typing.session !== this.session)
      throw new ExchangeError("unknown-build", "the lease is another one than this was typed for");
    const isLate = typing.time <= this.#heardTime;
    if (!isLate) this.#heardTime = typing.time;
    if (typing.sequence >= this.#next) this.#enqueue(typing);
    else if (typing.sequence === 0 && typing.operations.length > 0) this.#obey(typing, isLate);
    const { leftMs } = this;
    return {
      isLate,
      typed: { next: this.#next, done: this.#done, ...(leftMs !== undefined && { left: leftMs }) },
    };
  }

  #enqueue({ sequence, operations: bytes }: Typing): void {
    const expected = this.#next;
    if (sequence > expected)
      throw new ExchangeError("offset", `message ${expected} comes first`, { offset: expected });
    if (this.#queuedBytes + bytes.length > maxQueuedBytes)
      throw new ExchangeError("unavailable", "the board hasn't taken what was typed before");
    const { sent, operations } = parseBurst(bytes);
    this.#next += 1;
    this.#playOut.heard(sent / 1000, performance.now());
    if (operations.some(({ op }) => op === "purge")) {
      this.#dropWrites();
      this.#transfer?.abort();
    }
    for (const operation of operations) {
      if (operation.op === "extend") this.#extend(operation.seconds * 1000);
      else if (operation.op === "release") this.#releaseSoon(operation.reason);
    }
    this.#queue.push({ sequence, bytes: bytes.length, operations });
    this.#queuedBytes += bytes.length;
    this.#changed.wake();
  }

  /** Orders have no sequence that would tell a repeated one. */
  #obey({ operations }: Typing, isLate: boolean): void {
    const orders = parseOrders(operations);
    if (isLate) throw new ExchangeError("unavailable", "a later message has come before this one");
    for (const order of orders) {
      if (order.op === "extend") this.#extend(order.seconds * 1000);
      else this.#releaseNow(order.reason);
    }
  }

  #dropWrites(): void {
    for (const queued of this.#queue)
      queued.operations = queued.operations.filter(({ op }) => op !== "write");
  }

  #extend(byMs: number): void {
    if (this.#state.kind !== "held") return;
    const { begun, until } = this.#state;
    const last = begun + this.#options.maxMs;
    this.#state = { ...this.#state, until: Math.min(until + byMs, last) };
    this.#armEnd();
    this.#note("extended");
  }

  #note(what: string): void {
    const left = formatSeconds(this.leftMs ?? 0);
    void this.build.console?.note(`${what}: ${left} left`).catch(() => {});
  }

  /** What was typed before it gets a moment: a command that ends may just have written something. */
  #releaseSoon(reason: string): void {
    this.#releaseTimer ??= setTimeout(() => this.#releaseNow(reason), releaseTimeoutMs);
  }

  #releaseNow(reason: string): void {
    this.#release ??= reason;
    this.#changed.wake();
  }

  /**
   * Does what the holder types until it is released.
   * @returns the holder's reason
   * @throws the signal's reason
   */
  async play(reservation: Reservation, signal: AbortSignal): Promise<string> {
    const released = this.#changed.until(() => this.#release !== undefined, signal);
    const playing = this.#playAll(reservation, signal);
    // The release counts even while the board takes no bytes.
    await Promise.race([released, playing]);
    return this.#release ?? "";
  }

  async #playAll(reservation: Reservation, signal: AbortSignal): Promise<never> {
    for (;;) {
      await this.#changed.until(() => this.#queue.length > 0, signal);
      const [first] = this.#queue;
      if (!first) continue;
      const error = await this.#playOne(first, reservation, signal);
      this.#queue.shift();
      this.#queuedBytes -= first.bytes;
      this.#done = first.sequence;
      await this.#options.report.send({ done: first.sequence, ...(error !== undefined && { error }) });
    }
  }

  /** @returns what failed first; the others are done all the same, as a tool that sets a line expects */
  async #playOne(queued: Queued, reservation: Reservation, signal: AbortSignal): Promise<string | undefined> {
    let failure: string | undefined;
    // A purge takes writes out meanwhile.
    for (let done = 0; done < queued.operations.length; done++) {
      const operation = queued.operations[done];
      if (!operation) break;
      const waitMs = this.#playOut.due(operation, performance.now()) - performance.now();
      if (waitMs >= minDelayMs) await delay(waitMs, undefined, { signal });
      signal.throwIfAborted();
      if (operation.op === "release") this.#releaseNow(operation.reason);
      if (operation.op === "dtr" || operation.op === "rts") this.changedLines.add(operation.op);
      try {
        await this.#operate(operation, reservation, signal);
      } catch (error) {
        signal.throwIfAborted();
        failure ??= `${operation.op}: ${(error as Error).message}`;
      }
    }
    return failure;
  }

  async #operate(operation: Operation, reservation: Reservation, signal: AbortSignal): Promise<void> {
    const { device, report, files } = this.#options;
    const { bootTimeoutMs } = device.config;
    const { build } = this;
    const transfer = new AbortController();
    this.#transfer = transfer;
    let reported = Number.NEGATIVE_INFINITY;
    const onProgress = (done: number, total: number) => {
      if (done < total && performance.now() - reported < progressIntervalMs) return;
      reported = performance.now();
      void report.send({ transferred: done, of: total });
    };
    const context = { reservation, build, files, bootTimeoutMs, signal, cancel: transfer.signal, onProgress };
    await operate(operation, context);
  }

  end(): void {
    this.#state = { kind: "over" };
    clearTimeout(this.#endTimer);
    clearTimeout(this.#releaseTimer);
  }
}
