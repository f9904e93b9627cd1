/** One job server of a worker: connects, registers, asks for a job when it is told to, and connects again. */

import type { Connection } from "../wire/connection.ts";
import { type ServerAddress, serverName } from "../wire/dial.ts";
import { GearmanError } from "../wire/errors.ts";
import type { Packet } from "../wire/packet.ts";
import { printable, type TextLine } from "../wire/parser.ts";
import { Backoff } from "./backoff.ts";
import { AssignedJob, readAssignment } from "./job.ts";
import type { LinkOptions } from "./link-options.ts";
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
 * Awake means that there may be a job and the link waits for its turn; asleep, that the server will say NOOP. A link that is
 * retiring sleeps until its server is known to have the end of the last job, then closes.
 */
export type LinkState =
  | { readonly kind: "waiting" }
  | { readonly kind: "connecting" }
  | ({ readonly kind: "registering" | "awake" | "grabbing" | "asleep" } & Conversation)
  | ({ readonly kind: "working"; readonly job: AssignedJob } & Conversation)
  | { readonly kind: "closed" };

interface Conversation {
  readonly connection: Connection;
  readonly registration: Registration;
}

export class Link {
  readonly address: ServerAddress;
  readonly server: string;
  /** Why the last connection, or try to connect, ended. */
  lastError: GearmanError | undefined;
  readonly #options: LinkOptions;
  readonly #backoff: Backoff;
  readonly #closing = new AbortController();
  #state: LinkState = { kind: "waiting" };
  #cancelTimer = () => {};
  /** The last job that ended here, until the server is known to have read that. */
  #unconfirmed: AssignedJob | undefined;
  #retiring = false;
  /** How this connection is asked for a job, and whether its server has shown that it knows that. */
  #grab: { readonly type: "GRAB_JOB_UNIQ" | "GRAB_JOB"; readonly proved: boolean } = unproved;
  /** Something happened while a GRAB_JOB was under way after which NO_JOB is out of date. */
  #again = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.address = options.address;
    this.server = serverName(options.address);
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
    return this.#options.owner.wanted;
  }

  /** Connects now. */
  start(): void {
    this.#enter({ kind: "connecting" });
    const { dial, address } = this.#options;
    dial(address, { signal: this.#closing.signal }).then(
      (connection) => this.#opened(connection),
      (error: unknown) => this.#failed(error),
    );
  }

  /** The wanted functions have changed. CANT_DO never goes out while a job is held or may be on its way. */
  update(): void {
    const state = this.#state;
    if (!("registration" in state)) return;
    const mayWithdraw = state.kind !== "working" && state.kind !== "grabbing";
    const added = state.registration.update(this.#wanted, mayWithdraw);
    if (added && state.kind === "grabbing") this.#again = true;
    if (added && state.kind === "asleep" && !this.#retiring) this.#enter({ ...state, kind: "awake" });
  }

  /** Asks for a job; only when awake. */
  grab(): void {
    const state = this.#state;
    if (state.kind !== "awake") throw new Error(`a link that is ${state.kind} can't grab`);
    this.#again = false;
    state.connection.send(this.#grab.type);
    this.#enter({ ...state, kind: "grabbing" });
    this.#expectAnswer(state.connection, "to a request for a job");
  }

  /** The job has ended, and the slot is free. One whose connection has gone is no longer this link's. */
  release(job: AssignedJob): void {
    const state = this.#state;
    if (state.kind !== "working" || state.job !== job) return;
    const { connection, registration } = state;
    // An ending has no answer; this has one, and servers answer a connection in order.
    this.#unconfirmed = job;
    registration.ask();
    this.#settle({ kind: "awake", connection, registration });
  }

  /**
   * Closes when it holds no job, none can be on its way, and the server is known to have the end of the last one. A server that
   * comes back is kept.
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

  #waitAndRetry(reason: GearmanError): void {
    this.lastError = reason;
    this.#backoff.down(this.#options.clock.now(), reason);
    this.#enter(this.#retiring ? { kind: "closed" } : { kind: "waiting" });
    if (!this.#retiring)
      this.#cancelTimer = this.#options.clock.after(this.#backoff.next(), () => this.start());
    this.#options.owner.down(reason);
  }

  #received(item: Packet | TextLine): void {
    const state = this.#state;
    if (!("connection" in state) || "line" in item) return;
    switch (item.type) {
      case "STATUS_RES":
        state.registration.answered();
        if (state.registration.confirmed) {
          this.#unconfirmed?.confirm();
          this.#unconfirmed = undefined;
        }
        if (this.#retiring && state.kind === "asleep") this.#leave(state);
        else if (state.kind !== "registering") this.#options.owner.changed();
        else if (state.registration.confirmed) {
          this.#backoff.up(this.#options.clock.now());
          this.#enter({ ...state, kind: "awake" });
          this.#options.owner.up();
        }
        return;
      case "NOOP":
        if (state.kind === "asleep" && !this.#retiring) this.#enter({ ...state, kind: "awake" });
        if (state.kind === "grabbing") this.#again = true;
        return;
      case "NO_JOB":
        if (state.kind !== "grabbing") break;
        this.#grab = { ...this.#grab, proved: true };
        this.#settle({ ...state, kind: this.#again ? "awake" : "asleep" });
        return;
      case "JOB_ASSIGN":
      case "JOB_ASSIGN_UNIQ":
        this.#assigned(state, item);
        return;
      case "ERROR":
        if (state.kind === "grabbing" && this.#grab.type === "GRAB_JOB_UNIQ" && !this.#grab.proved) {
          // The Perl server doesn't know GRAB_JOB_UNIQ, and says so by an ERROR (server_error).
          this.#grab = { type: "GRAB_JOB", proved: false };
          state.connection.send("GRAB_JOB");
          return;
        }
        break;
      default:
    }
    const details = item.type === "ERROR" ? `: ${item.args.map((arg) => printable(arg)).join(" ")}` : "";
    this.#options.owner.oddity(`${this.server} sent ${item.type}${details}`);
  }

  #assigned(state: Conversation & { readonly kind: LinkState["kind"] }, packet: Packet): void {
    const assignment = readAssignment(packet);
    const { kind, registration, connection } = state;
    if (kind !== "grabbing" || !registration.has(assignment.function.toString())) {
      const name = printable(assignment.function, 60);
      const what =
        kind === "grabbing" ? `of a function that isn't registered: "${name}"` : "that nobody asked for";
      connection.end(new GearmanError("GARBAGE", `${this.server} gave a job ${what}`));
      return;
    }
    this.#grab = { ...this.#grab, proved: true };
    const job = new AssignedJob(state.connection, assignment);
    this.#enter({ ...state, kind: "working", job });
    this.#options.owner.assigned(job);
  }

  /** No job is held nor on its way: does what had to wait for that, then sleeps if nothing is to be expected. */
  #settle(next: Conversation & { readonly kind: "awake" | "asleep" }): void {
    if (this.#retiring) return void this.#leave(next);
    const added = next.registration.update(this.#wanted, true);
    if (next.kind === "asleep" && !added) next.connection.send("PRE_SLEEP");
    this.#enter(added ? { ...next, kind: "awake" } : next);
  }

  #expectAnswer(connection: Connection, what: string): void {
    const { clock, answerTimeout } = this.#options;
    this.#cancelTimer = clock.after(answerTimeout, () => {
      const text = `${this.server} gave no answer ${what} within ${answerTimeout / 1000} s`;
      connection.end(new GearmanError("TIMEOUT", text));
    });
  }

  #enter(state: LinkState): void {
    this.#cancelTimer();
    this.#cancelTimer = () => {};
    this.#state = state;
    this.#options.owner.changed();
  }
}

const unproved = { type: "GRAB_JOB_UNIQ", proved: false } as const;
