/** A job that a server gave to a worker, and what the worker says about it. */
import type { Connection } from "../wire/connection.ts";
import type { GearmanError } from "../wire/errors.ts";
import type { Packet } from "../wire/packet.ts";

/**
 * One assigned job. What is said after its end, or after its connection was lost, is dropped.
 *
 *     running ──complete(), fail()──> ended ──the server has read on──> delivered
 *        └──────connection gone───────> lost <──connection gone──┘ (ended)
 */
export interface Job {
  /** Host and port of the server that gave it. */
  readonly server: string;
  readonly handle: string;
  readonly function: string;
  /** What the client called it; empty when the server doesn't tell. */
  readonly unique: string;
  readonly argument: Buffer;
  /** Aborted, with a GearmanError as the reason, when the connection goes while the job runs: nobody listens any more. */
  readonly lost: AbortSignal;
  /**
   * Settles some time after the end: true when the server has taken it. False: the connection went before that was sure, or
   * before the end, and a server that requeues will hand the job out again.
   */
  readonly delivered: Promise<boolean>;
  /** Sends WORK_DATA. */
  data(bytes: string | Uint8Array): void;
  /** Sends WORK_STATUS. */
  status(numerator: number, denominator: number): void;
  /**
   * Sends WORK_EXCEPTION, which ends the job in geard and gearmand, but not in the Perl server: follow it with `fail`. The
   * ERROR that this brings from gearmand is borne.
   */
  exception(bytes: string | Uint8Array): void;
  /** Ends it with WORK_COMPLETE. */
  complete(bytes?: string | Uint8Array): void;
  /** Ends it with WORK_FAIL. */
  fail(): void;
  /** Resolves when more data can be sent without piling it up here. */
  drained(): Promise<void>;
}

/** The parts of a JOB_ASSIGN or JOB_ASSIGN_UNIQ packet. */
export interface Assignment {
  readonly handle: Buffer;
  readonly function: Buffer;
  readonly unique: Buffer;
  readonly argument: Buffer;
}

/** What a JOB_ASSIGN or a JOB_ASSIGN_UNIQ says. */
export function readAssignment({ type, args }: Packet): Assignment {
  const none = Buffer.alloc(0);
  const [handle = none, name = none, third = none, fourth = none] = args;
  const [unique, argument] = type === "JOB_ASSIGN_UNIQ" ? [third, fourth] : [none, third];
  return { handle, function: name, unique, argument };
}

export class AssignedJob implements Job {
  readonly server: string;
  readonly handle: string;
  readonly function: string;
  readonly unique: string;
  readonly argument: Buffer;
  readonly #connection: Connection;
  /** As it came: it goes back byte for byte. */
  readonly #handle: Buffer;
  readonly #lost = new AbortController();
  readonly #delivered = Promise.withResolvers<boolean>();
  #state: "running" | "ended" | "delivered" | "lost" = "running";

  constructor(connection: Connection, assignment: Assignment) {
    this.#connection = connection;
    this.#handle = assignment.handle;
    this.server = connection.server;
    this.handle = assignment.handle.toString();
    this.function = assignment.function.toString();
    this.unique = assignment.unique.toString();
    this.argument = assignment.argument;
  }

  /** The connection has gone. */
  lose(reason: GearmanError): void {
    const before = this.#state;
    if (before === "lost" || before === "delivered") return;
    this.#state = "lost";
    this.#delivered.resolve(false);
    if (before === "running") this.#lost.abort(reason);
  }

  /** The server has answered something that was sent after the end, so it has read the end. */
  confirm(): void {
    if (this.#state !== "ended") return;
    this.#state = "delivered";
    this.#delivered.resolve(true);
  }

  get delivered(): Promise<boolean> {
    return this.#delivered.promise;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  data(bytes: string | Uint8Array): void {
    if (this.#state === "running") this.#connection.send("WORK_DATA", this.#handle, bytes);
  }

  status(numerator: number, denominator: number): void {
    if (this.#state !== "running") return;
    this.#connection.send("WORK_STATUS", this.#handle, `${numerator}`, `${denominator}`);
  }

  exception(bytes: string | Uint8Array): void {
    if (this.#state === "running") this.#connection.send("WORK_EXCEPTION", this.#handle, bytes);
  }

  complete(bytes: string | Uint8Array = ""): void {
    if (this.#state !== "running") return;
    this.#connection.send("WORK_COMPLETE", this.#handle, bytes);
    this.#state = "ended";
  }

  fail(): void {
    if (this.#state !== "running") return;
    this.#connection.send("WORK_FAIL", this.#handle);
    this.#state = "ended";
  }

  async drained(): Promise<void> {
    if (this.#state === "running") await this.#connection.drained();
  }
}
