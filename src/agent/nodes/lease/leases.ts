/**
 * Answers `type:` and `console:`, on a connection of its own: a stop is never behind typing, nor typing behind a file. What it answers is short and
 * comes at once; what is done to a board follows on the lease.
 */
import type { Build } from "#/builds/build.ts";
import type { Port } from "#/devices/port/port.ts";
import {
  consoleFunction,
  formatConsolePiece,
  maxConsoleBytes,
  parseConsoleRequest,
} from "#/exchange/console.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { parsePublicKey, verifySignature } from "#/exchange/key.ts";
import { leaseClientTimeoutMs, leaseJob } from "#/exchange/lease.ts";
import { errorAnswer } from "#/exchange/message.ts";
import { formatTyped, parseTyping, typeFunction } from "#/exchange/typing.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { type Job, logWorkerEvents, Worker, type WorkerCounts } from "#/gearman/worker/worker.ts";
import type { Log } from "#/lib/log.ts";
import { SignsOfLife } from "../watchdogs.ts";
import type { Lease } from "./lease.ts";

export interface LeasesOptions {
  readonly name: string;
  readonly findPort: (device: string) => Port | undefined;
  readonly counts: WorkerCounts;
  readonly log: Log;
}

/** A holder that is gone loses the board within a second of the timeout. */
const maxLookMs = 250;
/** Of the latest output, for one who begins to watch. */
const recentBytes = 4096;

export class Leases implements AsyncDisposable {
  readonly worker: Worker;
  readonly #options: LeasesOptions;
  readonly #log: Log;
  readonly #leases = new Map<string, Lease>();
  readonly #signs: SignsOfLife;

  #isConsoleOpen = false;
  /** When all leases end since the agent drains; by performance.now(). */
  #drainUntil: number | undefined;

  constructor(options: LeasesOptions) {
    this.#options = options;
    this.#log = options.log.child({ leases: options.name });
    this.worker = new Worker({
      servers: [],
      clientId: `${options.name}/leases`,
      onJob: async (job) => job.complete(this.#answer(job)),
      onEvent: logWorkerEvents(this.#log, options.counts),
    });
    this.#signs = new SignsOfLife((server) => this.worker.isRegistered(server));
    this.worker.setFunctions(new Set([typeFunction(options.name), consoleFunction(options.name)]));
  }

  /**
   * @param servers none: no device can be leased or watched, and no connection is needed
   * @param isConsoleOpen whether everybody may watch consoles
   */
  serve(servers: readonly ServerAddress[], isConsoleOpen: boolean): void {
    this.#isConsoleOpen = isConsoleOpen;
    this.worker.setServers(servers);
  }

  of({ title }: Build): Lease | undefined {
    return this.#leases.get(title);
  }

  /** The one that has the device now. */
  find(device: string): Lease | undefined {
    return [...this.#leases.values()].find((lease) => lease.device === device && lease.leftMs !== undefined);
  }

  /** Hears what its holder types until it is disposed of. */
  add(lease: Lease): Disposable {
    const { build } = lease;
    this.#leases.set(build.title, lease);
    lease.drainUntil = this.#drainUntil;
    const watch = this.#signs.watchFor(build, leaseClientTimeoutMs, maxLookMs);
    return {
      [Symbol.dispose]: () => {
        watch[Symbol.dispose]();
        this.#leases.delete(build.title);
      },
    };
  }

  /** All leases end within this time. A drain that goes on keeps its time. */
  drain(limitMs: number): void {
    this.#setDrain(this.#drainUntil ?? performance.now() + limitMs);
  }

  endDrain(): void {
    this.#setDrain(undefined);
  }

  #setDrain(until: number | undefined): void {
    this.#drainUntil = until;
    for (const lease of this.#leases.values()) lease.drainUntil = until;
  }

  /** A refusal is an answer, too. */
  #answer({ argument, function: name }: Job): Buffer {
    try {
      if (name === consoleFunction(this.#options.name)) return this.#console(argument);
      return this.#type(argument);
    } catch (error) {
      const isRefusal = error instanceof ExchangeError;
      const { message } = error as Error;
      if (isRefusal) this.#log.debug({ function: name, code: error.code }, message);
      else this.#log.error({ function: name }, `a request can't be answered: ${message}`);
      return errorAnswer(isRefusal ? error : new ExchangeError("unavailable", "the agent can't do it now"));
    }
  }

  #type(argument: Buffer): Buffer {
    const typing = parseTyping(argument);
    const { number, signed, signature } = typing;
    const lease = this.#leases.get(`${leaseJob}#${number}`);
    if (!lease) throw new ExchangeError("unknown-build", "this manager has no such lease now");
    const { build } = lease;
    const { key = "" } = build.record;
    verifySignature(signed, signature, parsePublicKey(key), Date.now());
    const { isLate, typed } = lease.take(typing);
    if (!isLate) {
      this.#signs.heard(build);
      lease.heard();
    }
    return formatTyped(typed);
  }

  #console(argument: Buffer): Buffer {
    const { device, offset, holder } = parseConsoleRequest(argument);
    const held = this.find(device);
    if (holder) {
      const lease = this.#leases.get(`${leaseJob}#${holder.number}`);
      if (!lease || lease !== held)
        throw new ExchangeError("unknown-build", "this manager has no such lease now");
      if (holder.signed.what !== lease.session)
        throw new ExchangeError("unknown-build", "the lease is another one than this was signed for");
      const { key = "" } = lease.build.record;
      verifySignature(holder.signed, holder.signature, parsePublicKey(key), Date.now());
    } else if (!this.#isConsoleOpen)
      throw new ExchangeError("unsigned", "this lab shows no consoles from afar: remote: { console: true }");
    else if (held) throw new ExchangeError("unsigned", `${device} is leased by ${held.terms.who}`);
    const ring = this.#options.findPort(device)?.ring;
    if (!ring) throw new ExchangeError("not-found", `this box has no device ${device}`);
    const from = offset ?? ring.end - recentBytes;
    const piece = ring.piece(Math.min(from, ring.end), maxConsoleBytes);
    return formatConsolePiece({ ...piece, end: ring.end });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.worker[Symbol.asyncDispose]();
  }
}
