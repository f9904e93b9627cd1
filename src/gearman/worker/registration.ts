/** Which functions one connection has registered with its server, and whether the server has read that. */
import type { Connection } from "../wire/connection.ts";

/** No server gives out this handle, so GET_STATUS of it changes nothing. */
const noJob = "H:none:0";

/**
 * Keeps one connection's functions in step with the wanted ones by sending only the difference: gearmand counts a
 * function that is registered twice as two workers, and geard drops a connection that withdraws what it never
 * registered. CAN_DO has no answer; a GET_STATUS behind it has, in every server (ECHO_REQ has none in geard), and
 * servers answer a connection in order.
 */
export class Registration {
  readonly #connection: Connection;
  readonly #sent = new Set<string>();
  #unanswered = 0;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** How many functions were sent to the server. */
  get size(): number {
    return this.#sent.size;
  }

  /**
   * Sends the functions that are missing, and withdraws those that are no longer wanted if it may.
   * @returns true when functions were added: the server may have jobs for them, and sends no NOOP
   */
  update(wanted: ReadonlySet<string>, mayWithdraw: boolean): boolean {
    const added = wanted.difference(this.#sent);
    const removed = mayWithdraw ? this.#sent.difference(wanted) : new Set<string>();
    for (const name of removed) this.#connection.send("CANT_DO", name);
    for (const name of added) this.#connection.send("CAN_DO", name);
    for (const name of removed) this.#sent.delete(name);
    for (const name of added) this.#sent.add(name);
    if (added.size + removed.size > 0) this.ask();
    return added.size > 0;
  }

  /** Sends a GET_STATUS, whose answer shows how far the server has read. */
  ask(): void {
    this.#connection.send("GET_STATUS", noJob);
    this.#unanswered += 1;
  }

  /** A STATUS_RES has come. */
  answered(): void {
    this.#unanswered = Math.max(0, this.#unanswered - 1);
  }

  /** True when the server may give jobs of this function. */
  has(name: string): boolean {
    return this.#sent.has(name);
  }

  /** True when the server has read all that was sent. */
  get confirmed(): boolean {
    return this.#unanswered === 0;
  }

  /** True when the server is known to have at least the wanted functions. */
  covers(wanted: ReadonlySet<string>): boolean {
    return this.confirmed && wanted.isSubsetOf(this.#sent);
  }
}
