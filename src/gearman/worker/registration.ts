/** Which functions one connection has registered with its server, and whether the server has taken note of them. */
import type { Connection } from "../wire/connection.ts";

/** A handle that no server gives out; asking for it changes nothing. */
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

  /** How many functions the server has been told of. */
  get size(): number {
    return this.#sent.size;
  }

  /**
   * Sends what is missing and, when it may, withdraws what is too much.
   * @returns true when functions were added: there may be jobs of theirs, and no NOOP will tell
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

  /** Asks the server for an answer that shows how far it has read. */
  ask(): void {
    this.#connection.send("GET_STATUS", noJob);
    this.#unanswered += 1;
  }

  /** The answer has come. */
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

  /** True when the server is known to have at least what is wanted. */
  covers(wanted: ReadonlySet<string>): boolean {
    return this.confirmed && wanted.isSubsetOf(this.#sent);
  }
}
