/** Looks for other agents of this one's name, as cloned cards are: a stop for one of them can reach the other. */
import { Admin } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { formatAddress } from "#/lib/address.ts";
import type { Log } from "#/lib/log.ts";
import { stopFunction } from "#/zuul/functions.ts";

const lookIntervalMs = 5 * 60 * 1000;
const answerTimeoutMs = 10_000;

export class Twins implements AsyncDisposable {
  readonly #name: string;
  readonly #log: Log;
  #servers: readonly ServerAddress[];
  /** The servers that have one. */
  readonly #found = new Set<string>();
  readonly #looks = new Set<Promise<void>>();
  readonly #over = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(name: string, servers: readonly ServerAddress[], log: Log) {
    this.#name = name;
    this.#servers = servers;
    this.#log = log;
    this.#timer = setInterval(() => {
      for (const server of this.#servers) this.look(formatAddress(server));
    }, lookIntervalMs);
  }

  setServers(servers: readonly ServerAddress[]): void {
    this.#servers = servers;
  }

  /** Whether the server had one when it was asked last. */
  isAt(server: string): boolean {
    return this.#found.has(server);
  }

  /** Asks a server with which this agent has registered. */
  look(server: string): void {
    const address = this.#servers.find((one) => formatAddress(one) === server);
    if (!address) return;
    const look = this.#ask(address)
      .then((workers) => this.#note(server, workers))
      // The worker's connection says what is wrong with the server.
      .catch(() => {})
      .finally(() => this.#looks.delete(look));
    this.#looks.add(look);
  }

  /** How many connections answer for the manager's name. */
  async #ask(address: ServerAddress): Promise<number> {
    await using admin = await Admin.connect(address, { signal: this.#over.signal, answerTimeoutMs });
    const name = stopFunction(this.#name);
    return (await admin.status()).find((entry) => entry.function === name)?.workers ?? 0;
  }

  #note(server: string, workers: number): void {
    if (workers <= 1) return void this.#found.delete(server);
    if (this.#found.has(server)) return;
    this.#found.add(server);
    // A server can take hours to notice that a connection is lost.
    const text = `${workers} connections answer for the name ${this.#name}: another agent has it too, or a lost connection is still open`;
    this.#log.warn(
      { server },
      `${server}: ${text}; give each agent a name of its own, since stops may reach the wrong one`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#over.abort();
    await Promise.all(this.#looks);
  }
}
