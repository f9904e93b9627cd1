/** A lease as its client has it: queued, given a board, used, ended. */
import { EventEmitter } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { Calls } from "#/client/calls.ts";
import { Signer } from "#/client/signer.ts";
import { BuildKey } from "#/exchange/key.ts";
import { type LeaseNews, type LineStatus, parseLeaseEvent } from "#/exchange/lease.ts";
import { dataObject, isCount, type JsonObject } from "#/exchange/message.ts";
import type { JobEvent } from "#/gearman/client/client.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { formatDuration, formatSeconds } from "#/lib/units.ts";
import type { BuildFacts } from "../build/events.ts";
import { type Ending, until } from "../build/follow.ts";
import { CommandError, exitCodes } from "../exit.ts";
import { onSignals } from "../signals.ts";
import { BoardFiles } from "./files.ts";
import { Holder, type LeaseAddress } from "./holder.ts";
import { keepLease } from "./kept.ts";
import type { LeasePlace, LeaseWish, OpenLease } from "./place.ts";
import { steadyEvents } from "./resume.ts";

export interface LeaseRequest extends Omit<LeaseWish, "signer"> {
  readonly place: LeasePlace;
}

/** The board while this side has it. */
export interface HeldBoard extends EventEmitter<BoardEvents> {
  readonly device: string;
  readonly baud: number;
  readonly holder: Holder;
  readonly files: BoardFiles;
  readonly lines: LineStatus;
  /** Milliseconds to the lease's end. */
  readonly leftMs: number;
}

export interface BoardEvents {
  serial: [Buffer];
  lines: [LineStatus];
}

/** How the board's user has done with it. */
export interface Used {
  /** Shown wherever the lease is. */
  readonly reason: string;
  readonly exitCode?: number;
}

/** @param ended aborts when the lease ends first */
export type UseBoard = (board: HeldBoard, ended: AbortSignal) => Promise<Used>;

const stopIntervalMs = 3000;
/** The agent answers at once; a call that hangs keeps the next sign of life from being heard. */
const answerTimeoutMs = 4000;
/** For the agent to end a lease that is released; then it is stopped. */
const releaseTimeoutMs = 5000;
/** How long before its end the holder is warned. */
const warnMs = 60_000;

/**
 *     queued ──first data──▶ preparing ──the board is reserved──▶ held ──▶ ended
 *        └──────────────────────┴──stopped, or it can't be had──────────▶ ended
 *     held ──another session──▶ moved ──stopped──▶ ended
 *
 * @returns how it ended, and what its user came to unless the lease ended first
 * @throws GearmanError
 */
export async function lease(
  request: LeaseRequest,
  use: UseBoard,
): Promise<{ readonly ending: Ending; readonly used?: Used | undefined }> {
  await using session = new LeaseSession(request, use);
  using _ = onSignals(["SIGINT", "SIGTERM", "SIGHUP"], () => session.interrupt());
  return await session.run();
}

class LeaseSession extends EventEmitter<BoardEvents> implements HeldBoard, AsyncDisposable {
  readonly holder: Holder;
  readonly files: BoardFiles;
  readonly #request: LeaseRequest;
  readonly #use: UseBoard;
  readonly #line: OpenLease;
  readonly #signer: Signer;
  /** Not the holder's: what is typed doesn't wait for what is read. */
  readonly #calls: Calls;
  readonly #queued = new AbortController();
  readonly #ended = new AbortController();
  readonly #cancelled = Promise.withResolvers<undefined>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #facts: BuildFacts = {};
  #news: LeaseNews | undefined;
  /** By performance.now(). */
  #until = 0;
  #warning: NodeJS.Timeout | undefined;
  #lines: LineStatus = {};
  /** The offset of the next byte of the board's output. */
  #offset: number | undefined;
  #using: Promise<Used | undefined> | undefined;
  #left: Ending["left"];
  #stopping: Promise<void> | undefined;
  /** Where the lease is, from its first news on. */
  #address: LeaseAddress | undefined;
  #isHeld = false;
  /** A job of it is at the job server, as far as this side knows. */
  #isQueued = true;
  #isMoved = false;
  #kept: Disposable | undefined;

  constructor(request: LeaseRequest, use: UseBoard) {
    super();
    const { place, say } = request;
    const signer = new Signer(BuildKey.generate());
    this.#request = request;
    this.#use = use;
    this.#line = place({ ...request, signer });
    this.#signer = signer;
    this.#calls = this.#line.openCalls(answerTimeoutMs);
    this.holder = new Holder(
      this.#line.openCalls(answerTimeoutMs),
      signer,
      (text) => say(`it can't be done: ${text}`),
      (left) => this.#takeLeft(left),
    );
    this.files = new BoardFiles({
      ...{ signer, holder: this.holder, ended: this.#ended.signal, say },
      ...{ calls: this.#line.openCalls(), uuid: () => this.#line.uuid },
      lease: () => {
        if (this.#address && this.#isHeld) return this.#address;
        throw new CommandError("failure", "the lease is over");
      },
    });
  }

  get device(): string {
    return this.#news?.device ?? "";
  }

  get baud(): number {
    return this.#news?.baud ?? 0;
  }

  get lines(): LineStatus {
    return this.#lines;
  }

  get leftMs(): number {
    return Math.max(0, this.#until - performance.now());
  }

  async run(): Promise<{ ending: Ending; used?: Used | undefined }> {
    const { target, queueTimeoutMs } = this.#request;
    if (queueTimeoutMs !== undefined) this.#after(queueTimeoutMs, () => this.#giveUp(queueTimeoutMs));
    let last: JsonObject = {};
    try {
      const events = await this.#line.submit();
      void this.#line.watchQueue(this.#queued.signal);
      const steady = steadyEvents(events, {
        ...{ signer: this.#signer, calls: this.#calls, say: this.#request.say },
        address: () => this.#address,
        isHeld: () => this.#isHeld,
        hasLeft: () => this.#left !== undefined,
        submitAgain: () => this.#submitAgain(),
        offset: () => this.#offset,
        onSerial: (bytes, offset) => this.#takeSerial(bytes, offset),
      });
      for await (const event of until(steady, this.#cancelled.promise))
        last = { ...last, ...this.#take(event) };
    } catch (cause) {
      if (!(cause instanceof GearmanError) || this.#left === undefined) {
        this.#ended.abort();
        await this.holder[Symbol.asyncDispose]();
        await this.#using;
        throw cause;
      }
    }
    this.#ended.abort();
    // What its user still waits for doesn't come any more.
    await this.holder[Symbol.asyncDispose]();
    const used = await this.#using;
    await this.#stopping;
    await this.#line.stop.makeSure();
    const { result, reason, cause } = last;
    const ending: Ending = {
      ...(typeof result === "string" && { result }),
      ...(typeof reason === "string" && { reason }),
      ...(typeof cause === "string" && { cause }),
      ...this.#facts,
      ...(this.#left && { left: this.#left }),
    };
    if (this.#facts.number === undefined && this.#left === "interrupted")
      return { ending: { ...ending, result: "ABORTED", reason: "given up in the queue" } };
    if (this.#facts.number === undefined && result === undefined && this.#left === undefined)
      return { ending: { ...ending, reason: `no device of ${target} took it: the job server dropped it` } };
    // What became of the other one says nothing of this one.
    if (this.#isMoved) return { ending: { ...this.#facts, reason: "the job server gave it away" } };
    return { ending, used };
  }

  async #submitAgain(): Promise<AsyncIterable<JobEvent>> {
    this.#isQueued = false;
    const events = await this.#line.submit();
    this.#isQueued = true;
    return events;
  }

  #take(event: JobEvent): JsonObject {
    if (event.type !== "data" && event.type !== "complete") return {};
    const data = dataObject(event.data);
    const special = parseLeaseEvent(data);
    if (!special) this.#takeFacts(data);
    else if (special.kind === "lease") this.#takeNews(special.news);
    else if (special.kind === "serial") this.#takeSerial(special.bytes, special.offset);
    else if (special.kind === "done") this.holder.done(special.sequence, special.error);
    else if (special.kind === "transferred") this.files.progress(special.done, special.total);
    else {
      this.#lines = { ...this.#lines, ...special.lines };
      this.emit("lines", this.#lines);
    }
    return special ? {} : data;
  }

  #takeFacts({ manager, name, number, node_name, url }: JsonObject): void {
    if (typeof manager !== "string" || !isCount(number)) return;
    this.#queued.abort();
    this.#facts = { manager, name, number, node_name, url };
  }

  #takeNews(news: LeaseNews): void {
    const { manager, number } = this.#facts;
    if (typeof manager !== "string" || !isCount(number)) return;
    const before = this.#news;
    this.#news = news;
    const address = { manager, number, session: news.session, device: news.device };
    this.holder.address = address;
    this.#address = address;
    if (before && before.session !== news.session) this.#moved(before, news);
    if (news.left === undefined) {
      if (!before) this.#request.say(`lease#${number} waits until ${news.device} is ready`);
      return;
    }
    this.#setLeft(news.left);
    this.#sayDrain(before?.draining, news.draining);
    if (this.#using || this.#left) return;
    this.#isHeld = true;
    this.#keep(address);
    this.#using = this.#begin();
    // Awaited once the lease has ended.
    this.#using.catch(() => {});
  }

  #sayDrain(before: number | undefined, draining: number | undefined): void {
    if ((before === undefined) === (draining === undefined)) return;
    const text =
      draining === undefined
        ? "the box isn't drained any more: the lease's own time counts again"
        : `the box is being drained: the lease ends in ${formatSeconds(draining)}`;
    this.#request.say(text);
  }

  /** For this user's other processes. */
  #keep(lease: LeaseAddress): void {
    try {
      const { gate } = this.#line;
      this.#kept = keepLease({ ...lease, key: this.#signer.key, ...(gate && { gate }) });
    } catch (error) {
      this.#request.say(`\`labgear lease extend\` won't find this lease: ${(error as Error).message}`);
    }
  }

  /** A job server has handed the lease to another agent or board, or to this agent once more. */
  #moved(before: LeaseNews, { device }: LeaseNews): void {
    if (!this.#using) return;
    const where = before.device === device ? "the same board, anew" : `another board, ${device}`;
    this.#isHeld = false;
    this.#isMoved = true;
    this.#request.say(`the lease of ${before.device} is lost: the job server has given it ${where}`);
    this.#leave("interrupted");
  }

  #takeSerial(bytes: Buffer, offset: number): void {
    const from = this.#offset ?? offset;
    if (offset > from) this.#request.say(`${offset - from} bytes of the board came too fast and are missing`);
    const fresh = bytes.subarray(Math.max(0, from - offset));
    this.#offset = Math.max(from, offset + bytes.length);
    if (fresh.length > 0) this.emit("serial", fresh);
  }

  async #begin(): Promise<Used | undefined> {
    const { say } = this.#request;
    const { url } = this.#facts;
    say(`${this.device} is yours for ${formatSeconds(this.leftMs)}: ${String(url)}`);
    try {
      const used = await this.#use(this, this.#ended.signal);
      if (this.#ended.signal.aborted) return undefined;
      await this.#release(used.reason);
      return used;
    } catch (error) {
      if (this.#ended.signal.aborted) return undefined;
      this.#leave("interrupted");
      throw error;
    }
  }

  async #release(reason: string): Promise<void> {
    this.#after(releaseTimeoutMs, () => this.#leave("interrupted"));
    await this.holder.perform({ op: "release", reason }).catch(() => {});
  }

  /** Of an answer. It tells of the lease's begin, too, while the line is lost. */
  #takeLeft(left: number): void {
    if (this.#news && !this.#using) this.#takeNews({ ...this.#news, left });
    else this.#setLeft(left);
  }

  #setLeft(left: number): void {
    const until = performance.now() + left;
    // Each answer says it again, a little later.
    if (Math.abs(until - this.#until) < 500) return;
    this.#until = until;
    this.#warnLater();
  }

  #warnLater(): void {
    clearTimeout(this.#warning);
    const soonMs = this.leftMs - warnMs;
    if (soonMs <= 0) return;
    this.#warning = setTimeout(
      () => {
        const isDrained = this.#news?.draining !== undefined;
        const hint = "; `labgear lease extend` or, on a terminal, Ctrl-] e extends it";
        this.#request.say(`the lease ends in 60 s${isDrained ? "" : hint}`);
      },
      Math.min(soonMs, 2 ** 31 - 1),
    );
  }

  interrupt(): void {
    if (this.#left === "interrupted") {
      this.#kept?.[Symbol.dispose]();
      process.exit(exitCodes.interrupted);
    }
    this.#leave("interrupted");
  }

  #giveUp(queueTimeoutMs: number): void {
    if (this.#facts.number !== undefined || this.#left) return;
    this.#request.say(`no device took it within ${formatDuration(queueTimeoutMs)}: giving up`);
    this.#leave("queue-timeout");
  }

  #leave(why: NonNullable<Ending["left"]>): void {
    if (this.#ended.signal.aborted) return;
    this.#left ??= why;
    this.#stopping ??= this.#tryToStop();
  }

  /** Tries until the lease has ended. Never rejects. */
  async #tryToStop(): Promise<void> {
    const { signal } = this.#ended;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        const { manager } = this.#facts;
        const outcome = await this.#line.stop.try(typeof manager === "string" ? manager : undefined, attempt);
        if (outcome === "cancelled") return this.#cancelled.resolve(undefined);
      } catch (error) {
        if (this.#isQueued) this.#request.say(`it can't be stopped yet: ${(error as Error).message}`);
      }
      await delay(stopIntervalMs, undefined, { signal }).catch(() => {});
    }
  }

  #after(ms: number, act: () => void): void {
    this.#timers.add(setTimeout(act, ms));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#queued.abort();
    this.#ended.abort();
    this.#kept?.[Symbol.dispose]();
    clearTimeout(this.#warning);
    for (const timer of this.#timers) clearTimeout(timer);
    await this.holder[Symbol.asyncDispose]();
    await this.files[Symbol.asyncDispose]();
    await this.#calls[Symbol.asyncDispose]();
    await this.#line[Symbol.asyncDispose]();
  }
}
