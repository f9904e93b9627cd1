/** A lease as its client has it: queued, given a board, used, ended. */
import { EventEmitter } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { ManagerCalls } from "#/client/calls.ts";
import { Signer } from "#/client/signer.ts";
import { BuildKey } from "#/exchange/key.ts";
import {
  formatLeaseRequest,
  type LeaseNews,
  type LeaseTerms,
  leaseFunction,
  type ModemLines,
  parseLeaseEvent,
} from "#/exchange/lease.ts";
import { dataObject, isCount, type JsonObject } from "#/exchange/message.ts";
import type { JobEvent, Submission, SubmitOptions } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { whyNoneIsFree } from "#/lab/demand.ts";
import { formatDuration, formatSeconds } from "#/lib/units.ts";
import type { BuildFacts } from "../build/events.ts";
import { type Ending, until } from "../build/follow.ts";
import { Line } from "../build/line.ts";
import { watchQueue } from "../build/queue.ts";
import { BuildStop } from "../build/stop-build.ts";
import { CommandError, exitCodes } from "../exit.ts";
import { onSignals } from "../signals.ts";
import { askInfo } from "../transfer/info.ts";
import { BoardFiles } from "./files.ts";
import { Holder, type LeaseAddress } from "./holder.ts";
import { keepLease } from "./kept.ts";
import { steadyEvents } from "./resume.ts";

export interface LeaseRequest {
  readonly server: ServerAddress;
  /** A class, or a device's name. */
  readonly target: string;
  readonly terms: LeaseTerms;
  readonly priority: NonNullable<SubmitOptions["priority"]>;
  readonly queueTimeoutMs: number | undefined;
  readonly say: (text: string) => void;
}

/** The board while this side has it. */
export interface HeldBoard extends EventEmitter<BoardEvents> {
  readonly device: string;
  readonly baud: number;
  readonly holder: Holder;
  readonly files: BoardFiles;
  readonly modem: ModemLines;
  /** Milliseconds to the lease's end. */
  readonly leftMs: number;
}

interface BoardEvents {
  serial: [Buffer];
  lines: [ModemLines];
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
  readonly #data: string;
  readonly #signer: Signer;
  /** Not the holder's: what is typed doesn't wait for what is read. */
  readonly #calls: ManagerCalls;
  readonly #function: string;
  readonly #queued = new AbortController();
  readonly #ended = new AbortController();
  readonly #cancelled = Promise.withResolvers<undefined>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #unique = "";
  #line: Line;
  #stop: BuildStop;
  #facts: BuildFacts = {};
  #news: LeaseNews | undefined;
  /** By performance.now(). */
  #until = 0;
  #warning: NodeJS.Timeout | undefined;
  #modem: ModemLines = {};
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
    const { server, target, terms, say } = request;
    const signer = new Signer(BuildKey.generate());
    this.#request = request;
    this.#use = use;
    this.#function = leaseFunction(target);
    this.#data = formatLeaseRequest(terms, signer.key.publicKey);
    [this.#line, this.#stop] = this.#newLine();
    this.#signer = signer;
    this.#calls = new ManagerCalls(server, answerTimeoutMs);
    this.holder = new Holder(
      server,
      signer,
      (text) => say(`it can't be done: ${text}`),
      (left) => this.#takeLeft(left),
    );
    this.files = new BoardFiles({
      ...{ server, signer, uuid: () => this.#unique, holder: this.holder, ended: this.#ended.signal, say },
      lease: () => {
        if (this.#address && this.#isHeld) return this.#address;
        throw new CommandError("failure", "the lease is over");
      },
    });
  }

  /** Of a new unique: a job of the old one may have been handed out just before the line was lost. */
  #newLine(): [Line, BuildStop] {
    const { server, priority } = this.#request;
    this.#unique = crypto.randomUUID().replaceAll("-", "");
    const request = { function: this.#function, unique: this.#unique, data: this.#data, priority };
    const line = new Line(server, request);
    return [line, new BuildStop(server, line, this.#unique)];
  }

  get device(): string {
    return this.#news?.device ?? "";
  }

  get baud(): number {
    return this.#news?.baud ?? 0;
  }

  get modem(): ModemLines {
    return this.#modem;
  }

  get leftMs(): number {
    return Math.max(0, this.#until - performance.now());
  }

  async run(): Promise<{ ending: Ending; used?: Used | undefined }> {
    const { target, queueTimeoutMs } = this.#request;
    const events = await this.#line.submit();
    void this.#watchQueue();
    if (queueTimeoutMs !== undefined) this.#after(queueTimeoutMs, () => this.#giveUp(queueTimeoutMs));
    let last: JsonObject = {};
    try {
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
    await this.#stop.makeSure();
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

  async #submitAgain(): Promise<Submission> {
    this.#isQueued = false;
    await this.#line[Symbol.asyncDispose]();
    [this.#line, this.#stop] = this.#newLine();
    const submitted = await this.#line.submit();
    this.#isQueued = true;
    return submitted;
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
      this.#modem = { ...this.#modem, ...special.lines };
      this.emit("lines", this.#modem);
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
      this.#kept = keepLease({ ...lease, key: this.#signer.key });
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
        const outcome = await this.#stop.try(typeof manager === "string" ? manager : undefined, attempt);
        if (outcome === "cancelled") return this.#cancelled.resolve(undefined);
      } catch (error) {
        if (this.#isQueued) this.#request.say(`it can't be stopped yet: ${(error as Error).message}`);
      }
      await delay(stopIntervalMs, undefined, { signal }).catch(() => {});
    }
  }

  async #watchQueue(): Promise<void> {
    const { server, target, say } = this.#request;
    const show = (event: { readonly event: string; readonly why?: string; readonly place?: number }) => {
      const place = event.place === undefined ? "" : `number ${event.place} in line; `;
      say(`waiting: ${place}${event.why ?? ""}`);
    };
    const line = () => this.#line;
    const build = {
      function: this.#function,
      get handle() {
        return line().handle;
      },
    };
    await watchQueue(
      server,
      build,
      { show, [Symbol.dispose]() {} },
      this.#queued.signal,
      async (functions) => {
        const nodes = (await askInfo(server, functions)).flatMap(({ nodes }) => nodes);
        return whyNoneIsFree(nodes.filter(({ name, classes }) => [name, ...classes].includes(target)));
      },
    );
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
