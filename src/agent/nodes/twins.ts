/** Looks for other agents of this one's name, as cloned cards are: a stop for one of them can reach the other. */
import { randomUUID } from "node:crypto";
import { Admin } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { formatAddress } from "#/lib/address.ts";
import type { Log } from "#/lib/log.ts";
import { stopFunction } from "#/zuul/functions.ts";

/** One request a server, whose answer has a line for each function. */
const lookIntervalMs = 30_000;
const answerTimeoutMs = 5000;

export class Twins implements AsyncDisposable {
  /** Of the manager's connections. Nothing else on a cloned box tells it from the other. */
  readonly clientId: string;
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
    this.clientId = `${name}/manager/${randomUUID().slice(0, 8)}`;
    this.#servers = servers;
    this.#log = log;
    this.#timer = setInterval(() => {
      for (const server of this.#servers) void this.look(formatAddress(server));
    }, lookIntervalMs);
  }

  setServers(servers: readonly ServerAddress[]): void {
    this.#servers = servers;
  }

  /** Whether the server had one when it was asked last. */
  isAt(server: string): boolean {
    return this.#found.has(server);
  }

  /** Asks a server with which this agent has registered; afterwards isAt() knows. Never rejects. */
  async look(server: string): Promise<void> {
    const address = this.#servers.find((one) => formatAddress(one) === server);
    if (!address) return;
    const look = this.#ask(address)
      .then((count) => this.#note(server, count))
      // The worker's connection says what is wrong with the server.
      .catch(() => {})
      .finally(() => this.#looks.delete(look));
    this.#looks.add(look);
    await look;
  }

  /** How many connections of others answer for the manager's name: a lost one of ours can stay open for long, and is none. */
  async #ask(address: ServerAddress): Promise<number> {
    await using admin = await Admin.connect(address, { signal: this.#over.signal, answerTimeoutMs });
    const name = stopFunction(this.#name);
    const all = (await admin.status()).find((entry) => entry.function === name)?.workers ?? 0;
    // The list of all connections is long.
    if (all <= 1) return 0;
    const managers = (await admin.workers()).filter(({ functions }) => functions.includes(name));
    return managers.filter(({ clientId }) => clientId !== this.clientId).length;
  }

  #note(server: string, count: number): void {
    if (count === 0) return void this.#found.delete(server);
    if (this.#found.has(server)) return;
    this.#found.add(server);
    const text = `another agent has the name ${this.#name}, too; give each one a name of its own, since a stop may reach the wrong one`;
    this.#log.warn({ server }, `${server}: ${text}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#over.abort();
    await Promise.all(this.#looks);
  }
}
