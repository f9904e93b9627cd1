/** A job that a server gave to a worker, and what the worker says about it. */
import type { Connection } from "../wire/connection.ts";
import type { GearmanError } from "../wire/errors.ts";
import type { Packet } from "../wire/packet.ts";

const none = Buffer.alloc(0);
/** What gearmand 1.1 passes on of a client's unique; it refuses more than one byte beyond. */
const maxUniqueBytes = 63;

/**
 * One assigned job. What is said after its end, or after its connection was lost, is dropped.
 *
 *     running ──complete(), fail()──> ended ──the server has read on──> delivered
 *        └──────connection gone───────> lost <──connection gone──┘ (ended)
 */
export class Job {
  /** HOST:PORT of the server that gave it. */
  readonly server: string;
  readonly handle: string;
  readonly function: string;
  /** The client's unique id; empty when the server doesn't pass it on. */
  readonly unique: string;
  readonly argument: Buffer;
  /** The client's unique was longer. */
  readonly isUniqueCut: boolean;
  readonly #connection: Connection;
  /** As it came: it goes back byte for byte. */
  readonly #handle: Buffer;
  readonly #lost = new AbortController();
  readonly #delivered = Promise.withResolvers<boolean>();
  #state: "running" | "ended" | "delivered" | "lost" = "running";

  /** @param assignment the JOB_ASSIGN or JOB_ASSIGN_UNIQ packet */
  constructor(connection: Connection, { type, args }: Packet) {
    const [handle = none, name = none, third = none, fourth = none] = args;
    const [unique, argument] = type === "JOB_ASSIGN_UNIQ" ? [third, fourth] : [none, third];
    this.#connection = connection;
    this.#handle = handle;
    this.server = connection.server;
    this.handle = handle.toString();
    this.function = name.toString();
    this.unique = unique.toString();
    // gearmand ends a unique of 64 bytes with a NUL one byte too early, and what follows becomes the argument.
    this.isUniqueCut = unique.length === maxUniqueBytes && argument[0] === 0;
    this.argument = this.isUniqueCut ? argument.subarray(1) : argument;
  }

  /** Aborts, with a GearmanError as the reason, when the connection goes while the job runs: nobody listens any more. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /**
   * Resolves some time after the end: true when the server has it. False when the connection went before that was certain, or
   * before the end; a server that requeues then hands the job out again.
   */
  get delivered(): Promise<boolean> {
    return this.#delivered.promise;
  }

  /** Sends WORK_DATA. */
  data(bytes: string | Uint8Array): void {
    if (this.#state === "running") this.#connection.send("WORK_DATA", this.#handle, bytes);
  }

  /** Sends WORK_STATUS. */
  status(numerator: number, denominator: number): void {
    if (this.#state !== "running") return;
    this.#connection.send("WORK_STATUS", this.#handle, `${numerator}`, `${denominator}`);
  }

  /**
   * Sends WORK_EXCEPTION, which ends the job in geard and gearmand, but not in the Perl server: follow it with `fail`.
   * gearmand answers that with an ERROR, which does no harm.
   */
  exception(bytes: string | Uint8Array): void {
    if (this.#state === "running") this.#connection.send("WORK_EXCEPTION", this.#handle, bytes);
  }

  /** Ends it with WORK_COMPLETE. */
  complete(bytes: string | Uint8Array = ""): void {
    if (this.#state !== "running") return;
    this.#connection.send("WORK_COMPLETE", this.#handle, bytes);
    this.#state = "ended";
  }

  /** Ends it with WORK_FAIL. */
  fail(): void {
    if (this.#state !== "running") return;
    this.#connection.send("WORK_FAIL", this.#handle);
    this.#state = "ended";
  }

  /** Resolves when more data can be sent without buffering it here. */
  async drained(): Promise<void> {
    if (this.#state === "running") await this.#connection.drained();
  }

  /** For the link: the connection has gone. */
  lose(reason: GearmanError): void {
    const before = this.#state;
    if (before === "lost" || before === "delivered") return;
    this.#state = "lost";
    this.#delivered.resolve(false);
    if (before === "running") this.#lost.abort(reason);
  }

  /** For the link: the server has answered something that was sent after the end, so it has read the end. */
  confirm(): void {
    if (this.#state !== "ended") return;
    this.#state = "delivered";
    this.#delivered.resolve(true);
  }
}
