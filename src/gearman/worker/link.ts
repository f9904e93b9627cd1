/** One job server of a worker: connects, registers, asks for a job when its turn comes, and connects again. */
import { formatAddress } from "#/lib/address.ts";
import type { Clock } from "../wire/clock.ts";
import type { Connection } from "../wire/connection.ts";
import type { Dial, ServerAddress } from "../wire/dial.ts";
import { GearmanError } from "../wire/errors.ts";
import type { Packet } from "../wire/packet.ts";
import { printableBytes, type TextLine } from "../wire/parser.ts";
import { Backoff } from "./backoff.ts";
import { Job } from "./job.ts";
import { Registration } from "./registration.ts";

/**
 * The life of a link. Source for the protocol: PROTOCOL of gearmand, "Worker Requests".
 *
 *     waiting ──> connecting ──> registering ──STATUS_RES──> awake ──GRAB_JOB_UNIQ──> grabbing
 *        ^                                                   ^ ^ ^                     │    │
 *        │                                                   │ │ └── working <──JOB_ASSIGN  │
 *        │                                     NOOP, CAN_DO ─┘ │                            │
 *        │                                                  asleep <─PRE_SLEEP────────NO_JOB┘
 *        └── lost, from any of them                close(), from any of them: closed
 *
 * Awake or asleep, it asks the server something now and then: a server that hangs keeps its connections.
 * Awake: there may be a job, and the link waits for its turn. Asleep: the server will send NOOP. A retiring link sleeps until
 * its server is known to have the end of the last job, then closes.
 */
export type LinkState =
  | { readonly kind: "waiting" }
  | { readonly kind: "connecting" }
  | ({ readonly kind: "registering" | "awake" | "grabbing" | "asleep" } & Conversation)
  | ({ readonly kind: "working"; readonly job: Job } & Conversation)
  | { readonly kind: "closed" };

interface Conversation {
  readonly connection: Connection;
  readonly registration: Registration;
}

export type LinkEvent =
  /** The server has the registration, after the first connection or a lost one. */
  | { readonly type: "up"; readonly server: string; readonly again: boolean }
  /** The connection was lost or couldn't be made, and is tried again. A failure that repeats is reported once. */
  | { readonly type: "down"; readonly server: string; readonly error: GearmanError }
  /** The server sent an ERROR packet, or one that no state expects; the link goes on. */
  | { readonly type: "warning"; readonly server: string; readonly text: string };

export interface LinkOptions {
  readonly clientId: string;
  /** The functions to register, as of now. */
  readonly functions: () => ReadonlySet<string>;
  /** For the answer to a registration or a GRAB_JOB. */
  readonly answerTimeoutMs: number;
  readonly dial: Dial;
  readonly clock: Clock;
  readonly random: () => number;
  readonly onJob: (job: Job, link: Link) => void;
  readonly onEvent: (event: LinkEvent) => void;
  /** The state or the registration changed. */
  readonly onChange: () => void;
}

/** How long an idle server may be silent before the link asks whether it still answers. */
const probeIntervalMs = 60_000;

export class Link {
  readonly address: ServerAddress;
  readonly server: string;
  /** Why the last connection, or the last try to connect, ended. */
  lastError: GearmanError | undefined;
  readonly #options: LinkOptions;
  readonly #backoff: Backoff;
  readonly #closing = new AbortController();
  #state: LinkState = { kind: "waiting" };
  #cancelTimer = () => {};
  /** The last job that ended here, until the server is known to have read that. */
  #unconfirmed: Job | undefined;
  #retiring = false;
  #wasUp = false;
  /** How this connection asks for a job, and whether its server has shown that it knows the packet. */
  #grab: { readonly type: "GRAB_JOB_UNIQ" | "GRAB_JOB"; readonly proved: boolean } = unproved;
  /** Something happened during a GRAB_JOB after which NO_JOB is out of date. */
  #grabAgain = false;
  /** The failure that was reported last, until the link is up again. */
  #reported: string | undefined;

  constructor(address: ServerAddress, options: LinkOptions) {
    this.#options = options;
    this.address = address;
    this.server = formatAddress(address);
    this.#backoff = new Backoff(options.random);
  }

  get state(): LinkState {
    return this.#state;
  }

  /** True when the server is known to have all the wanted functions. */
  get registered(): boolean {
    const state = this.#state;
    return "registration" in state && state.kind !== "registering" && state.registration.covers(this.#wanted);
  }

  get #wanted(): ReadonlySet<string> {
    return this.#options.functions();
  }

  /** Connects now. */
  start(): void {
    this.#enter({ kind: "connecting" });
    this.#options.dial(this.address, { signal: this.#closing.signal }).then(
      (connection) => this.#opened(connection),
      (error: unknown) => this.#failed(error),
    );
  }

  /** The wanted functions have changed. CANT_DO is never sent while a job is held or may be on its way. */
  update(): void {
    const state = this.#state;
    if (!("registration" in state)) return;
    const mayWithdraw = state.kind !== "working" && state.kind !== "grabbing";
    const added = state.registration.update(this.#wanted, mayWithdraw);
    if (added && state.kind === "grabbing") this.#grabAgain = true;
    if (added && state.kind === "asleep" && !this.#retiring) this.#enter({ ...state, kind: "awake" });
  }

  /** Asks for a job; only when awake. */
  grab(): void {
    const state = this.#state;
    if (state.kind !== "awake") throw new Error(`a link that is ${state.kind} can't grab`);
    this.#grabAgain = false;
    state.connection.send(this.#grab.type);
    this.#enter({ ...state, kind: "grabbing" });
    this.#expectAnswer(state.connection, "to a request for a job");
  }

  /** The job has ended, and the slot is free. Does nothing for a job of an earlier connection. */
  release(job: Job): void {
    const state = this.#state;
    if (state.kind !== "working" || state.job !== job) return;
    const { connection, registration } = state;
    // WORK_COMPLETE and WORK_FAIL have no answer; this has one, and servers answer a connection in order.
    this.#unconfirmed = job;
    registration.ask();
    this.#settle({ kind: "awake", connection, registration });
  }

  /**
   * Closes as soon as it holds no job, none can be on its way, and the server is known to have the end of the last one.
   * False takes that back.
   */
  retire(retiring: boolean): void {
    const wasRetiring = this.#retiring;
    this.#retiring = retiring;
    const state = this.#state;
    if (retiring && state.kind !== "working" && state.kind !== "grabbing") this.#leave(state);
    else if (wasRetiring && !retiring && state.kind === "asleep") this.#enter({ ...state, kind: "awake" });
  }

  #leave(state: LinkState): void {
    if (!this.#unconfirmed || !("connection" in state)) return void this.close();
    const { connection, registration } = state;
    this.#enter({ kind: "asleep", connection, registration });
    this.#expectAnswer(connection, "to the end of a job");
  }

  async close(): Promise<void> {
    const state = this.#state;
    if (state.kind === "closed") return;
    this.#enter({ kind: "closed" });
    this.#closing.abort();
    this.#lose(state, new GearmanError("CLOSED", `the worker of ${this.server} is closed`));
    if ("connection" in state) await state.connection[Symbol.asyncDispose]();
  }

  #opened(connection: Connection): void {
    if (this.#state.kind === "closed") return void connection[Symbol.asyncDispose]();
    const registration = new Registration(connection);
    this.#grab = unproved;
    void connection.closed.then((reason) => this.#lost(connection, reason));
    connection.receive((item) => this.#received(item));
    connection.send("SET_CLIENT_ID", this.#options.clientId);
    this.#enter({ kind: "registering", connection, registration });
    if (!registration.update(this.#wanted, true)) registration.ask();
    this.#expectAnswer(connection, "to the registration");
  }

  #failed(error: unknown): void {
    if (this.#state.kind === "closed") return;
    const isOurs = error instanceof GearmanError;
    this.#waitAndRetry(isOurs ? error : new GearmanError("UNREACHABLE", String(error), { cause: error }));
  }

  #lost(connection: Connection, reason: GearmanError): void {
    const state = this.#state;
    if (!("connection" in state) || state.connection !== connection) return;
    this.#waitAndRetry(reason);
    this.#lose(state, reason);
  }

  #lose(state: LinkState, reason: GearmanError): void {
    if (state.kind === "working") state.job.lose(reason);
    this.#unconfirmed?.lose(reason);
    this.#unconfirmed = undefined;
  }

  #waitAndRetry(error: GearmanError): void {
    const { clock, onEvent } = this.#options;
    this.lastError = error;
    this.#backoff.down(clock.now(), error);
    this.#enter({ kind: this.#retiring ? "closed" : "waiting" });
    if (!this.#retiring) this.#cancelTimer = clock.after(this.#backoff.next(), () => this.start());
    if (this.#reported !== error.message) onEvent({ type: "down", server: this.server, error });
    this.#reported = error.message;
  }

  #received(item: Packet | TextLine): void {
    const state = this.#state;
    if (!("connection" in state) || "line" in item) return;
    switch (item.type) {
      case "STATUS_RES":
        return void this.#confirmed(state);
      case "NOOP":
        if (state.kind === "asleep" && !this.#retiring) this.#enter({ ...state, kind: "awake" });
        if (state.kind === "grabbing") this.#grabAgain = true;
        return;
      case "NO_JOB":
        if (state.kind !== "grabbing") break;
        this.#grab = { ...this.#grab, proved: true };
        return void this.#settle({ ...state, kind: this.#grabAgain ? "awake" : "asleep" });
      case "JOB_ASSIGN":
      case "JOB_ASSIGN_UNIQ":
        return void this.#assigned(state, item);
      case "ERROR":
        if (state.kind === "grabbing" && this.#grab.type === "GRAB_JOB_UNIQ" && !this.#grab.proved) {
          // The Perl server doesn't know GRAB_JOB_UNIQ, and answers it with an ERROR (server_error).
          this.#grab = { type: "GRAB_JOB", proved: false };
          return void state.connection.send("GRAB_JOB");
        }
        break;
      default:
    }
    const details = item.type === "ERROR" ? `: ${item.args.map((arg) => printableBytes(arg)).join(" ")}` : "";
    const text = `${this.server} sent ${item.type}${details}`;
    this.#options.onEvent({ type: "warning", server: this.server, text });
  }

  /** The server has read on, perhaps all that was sent. */
  #confirmed(state: Extract<LinkState, Conversation>): void {
    const { clock, onChange, onEvent } = this.#options;
    state.registration.answered();
    const { confirmed } = state.registration;
    if (confirmed) {
      this.#unconfirmed?.confirm();
      this.#unconfirmed = undefined;
    }
    if (this.#retiring && state.kind === "asleep") this.#leave(state);
    else if (state.kind !== "registering") {
      if (confirmed) this.#probeLater(state);
      onChange();
    } else if (confirmed) {
      this.#backoff.up(clock.now());
      this.#reported = undefined;
      this.#enter({ ...state, kind: "awake" });
      onEvent({ type: "up", server: this.server, again: this.#wasUp });
      this.#wasUp = true;
    }
  }

  #assigned({ kind, connection, registration }: Extract<LinkState, Conversation>, packet: Packet): void {
    const job = new Job(connection, packet);
    if (kind !== "grabbing" || !registration.has(job.function)) {
      const name = printableBytes(Buffer.from(job.function), 60);
      const what =
        kind === "grabbing" ? `of a function that isn't registered: "${name}"` : "that nobody asked for";
      connection.end(new GearmanError("GARBAGE", `${this.server} gave a job ${what}`));
      return;
    }
    this.#grab = { ...this.#grab, proved: true };
    this.#enter({ kind: "working", connection, registration, job });
    this.#options.onJob(job, this);
  }

  /** No job is held nor on its way: does what had to wait for that, then sleeps if there is nothing to ask for. */
  #settle(next: Conversation & { readonly kind: "awake" | "asleep" }): void {
    if (this.#retiring) return void this.#leave(next);
    const added = next.registration.update(this.#wanted, true);
    if (next.kind === "asleep" && !added) next.connection.send("PRE_SLEEP");
    this.#enter(added ? { ...next, kind: "awake" } : next);
  }

  /** GET_STATUS has an answer in every server; ECHO_REQ has none in geard. */
  #probeLater(state: LinkState): void {
    if (state !== this.#state || (state.kind !== "awake" && state.kind !== "asleep")) return;
    this.#cancelTimer();
    this.#cancelTimer = this.#options.clock.after(probeIntervalMs, () => {
      state.registration.ask();
      this.#expectAnswer(state.connection, "on an idle connection");
    });
  }

  #expectAnswer(connection: Connection, what: string): void {
    const { clock, answerTimeoutMs } = this.#options;
    this.#cancelTimer();
    this.#cancelTimer = clock.after(answerTimeoutMs, () => {
      const text = `${this.server} gave no answer ${what} within ${answerTimeoutMs / 1000} s`;
      connection.end(new GearmanError("TIMEOUT", text));
    });
  }

  #enter(state: LinkState): void {
    this.#cancelTimer();
    this.#cancelTimer = () => {};
    this.#state = state;
    this.#probeLater(state);
    this.#options.onChange();
  }
}

const unproved = { type: "GRAB_JOB_UNIQ", proved: false } as const;
