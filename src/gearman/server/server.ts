/** The embedded job server: listens, and carries packets and admin lines to the job queue and back. */
import { createServer, type Server, type Socket } from "node:net";
import { hostname } from "node:os";
import { type Clock, systemClock } from "../wire/clock.ts";
import { GearmanError } from "../wire/errors.ts";
import { defaultMaxPacket, encode, type Packet } from "../wire/packet.ts";
import type { TextLine } from "../wire/parser.ts";
import { addressOf, type ConnectionLimits, closeSoon, ServerConnection } from "./connection.ts";
import { type ConnectionId, fromKey } from "./jobs.ts";
import { Journal } from "./journal.ts";
import { type Effect, JobQueue } from "./queue.ts";
import { handleLine, handleRequest } from "./requests.ts";

/** Something for the operator's log; `message` is one line. */
export interface ServerEvent {
  readonly kind: "garbage" | "refused" | "dropped" | "worker-lost" | "restored" | "not-kept";
  readonly address: string;
  readonly message: string;
}

export interface JobServerOptions {
  /** What `version` answers after OK; default: labgear. */
  readonly software?: string;
  /** Bytes of one packet; default 32 MiB. */
  readonly maxPacket?: number;
  /** Default 1000. One more gets an ERROR packet and is closed. */
  readonly maxConnections?: number;
  /** Queued and running jobs; default 10 000. */
  readonly maxJobs?: number;
  /** Bytes of all jobs and connections together, about; default 256 MiB. */
  readonly maxMemory?: number;
  /** Where the queue is kept for the next server; default: it ends with this one. */
  readonly journal?: string;
  /** What happens to a job whose worker's connection ended; by default it is requeued, and fails at the third loss. */
  readonly onWorkerLoss?: "requeue" | "fail";
  /** Whether a connection is refused before anything of it is read; default: none is. */
  readonly refuses?: (socket: Socket) => boolean;
  readonly log?: (event: ServerEvent) => void;
  /** Measures the timeouts of CAN_DO_TIMEOUT. */
  readonly clock?: Clock;
}

const maxFunctions = 10_000;
const maxLosses = 2;
/** How long the places of foreground jobs wait for their clients after a restart. */
const placesTimeoutMs = 10 * 60 * 1000;
/** The limit of setTimeout, 24 days. */
const maxTimerMs = 2 ** 31 - 1;
/** Connections over the limit that may wait for their ERROR packet at one time. */
const maxRefusals = 16;

/**
 * A server that listens once. Any connection that isn't refused can be client, worker and administrator; the protocol has no
 * passwords, so it listens on loopback by default.
 */
export class JobServer implements AsyncDisposable {
  readonly #queue: JobQueue;
  readonly #connections = new Map<ConnectionId, ServerConnection>();
  readonly #sockets = new Set<Socket>();
  readonly #timers = new Map<string, () => void>();
  readonly #limits: ConnectionLimits;
  readonly #maxConnections: number;
  readonly #maxMemory: number;
  readonly #software: string;
  readonly #refuses: (socket: Socket) => boolean;
  readonly #log: (event: ServerEvent) => void;
  readonly #clock: Clock;
  readonly #server: Server;
  readonly #journal: Journal | undefined;
  #lastId = 0;

  constructor(options: JobServerOptions = {}) {
    const maxPacket = options.maxPacket ?? defaultMaxPacket;
    this.#maxConnections = options.maxConnections ?? 1000;
    this.#maxMemory = options.maxMemory ?? 256 * 1024 * 1024;
    this.#limits = { maxPacket, maxOutput: 2 * maxPacket, onLoad: () => this.#freeMemory() };
    this.#software = options.software ?? "labgear";
    this.#refuses = options.refuses ?? (() => false);
    this.#log = options.log ?? (() => {});
    this.#clock = options.clock ?? systemClock;
    this.#queue = new JobQueue({
      handlePrefix: `H:${hostname().slice(0, 40)}:`,
      maxJobs: options.maxJobs ?? 10_000,
      maxJobBytes: this.#maxMemory / 2,
      maxFunctions,
      maxLosses: options.onWorkerLoss === "fail" ? 0 : maxLosses,
      isKept: options.journal !== undefined,
    });
    if (options.journal !== undefined) {
      const onFailure = (message: string) => this.#log({ kind: "not-kept", address: "-", message });
      this.#journal = new Journal(options.journal, () => this.#queue.jobs, onFailure);
    }
    this.#server = createServer({ keepAlive: true, keepAliveInitialDelay: 60_000, noDelay: true });
    this.#server.maxConnections = this.#maxConnections + maxRefusals;
    this.#server.on("connection", (socket) => this.#accept(socket));
  }

  /**
   * @param at port 0 takes a free one
   * @returns where it listens
   * @throws Error of the system when it can't listen there, such as one with code EADDRINUSE
   */
  async listen(at: { host?: string; port: number }): Promise<{ host: string; port: number }> {
    const host = at.host ?? "127.0.0.1";
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject).listen({ host, port: at.port }, () => {
      // Before the first connection, and never beside another server.
      this.#restore();
      resolve();
    });
    await promise;
    this.#server.off("error", reject);
    this.#server.on("error", (error) => {
      this.#log({ kind: "refused", address: "-", message: `can't accept a connection: ${error.message}` });
    });
    const bound = this.#server.address();
    return { host, port: typeof bound === "object" && bound ? bound.port : at.port };
  }

  #restore(): void {
    if (!this.#journal) return;
    const count = this.#queue.restore(this.#journal.read());
    this.#journal.rewrite();
    this.#timers.set(
      "",
      this.#clock.after(placesTimeoutMs, () => this.#queue.jobs.dropReserved()),
    );
    if (count > 0) this.#log({ kind: "restored", address: "-", message: `jobs back in the queue: ${count}` });
  }

  /** Stops listening and ends all connections; jobs are lost that the journal doesn't keep. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    // The clients that leave now come back.
    this.#journal?.[Symbol.dispose]();
    for (const socket of this.#sockets) socket.destroy();
    await promise;
    for (const cancel of this.#timers.values()) cancel();
  }

  #accept(socket: Socket): void {
    // An error also ends the reading, which handles it.
    socket.on("error", () => {});
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    if (this.#refuses(socket)) {
      closeSoon(socket, encode("RES", "ERROR", "NOT_ALLOWED", "Builds may not use this server"));
      return;
    }
    if (this.#connections.size >= this.#maxConnections) {
      const text = `This server takes ${this.#maxConnections} connections, and has them`;
      closeSoon(socket, encode("RES", "ERROR", "TOO_MANY_CONNECTIONS", text));
      this.#log({ kind: "refused", address: addressOf(socket), message: `${text}: one more was refused` });
      return;
    }
    this.#lastId += 1;
    const connection = new ServerConnection(this.#lastId, socket, this.#limits);
    this.#connections.set(connection.id, connection);
    socket.once("close", () => this.#connections.delete(connection.id));
    this.#queue.join(connection.id, connection.address);
    void this.#serve(connection);
  }

  async #serve(connection: ServerConnection): Promise<void> {
    try {
      await connection.read((item) => this.#handle(connection, item));
    } catch (error) {
      if (error instanceof GearmanError) {
        this.#log({ kind: "garbage", address: connection.address, message: error.message });
      } else if (!(error instanceof Error && "code" in error)) {
        const message = `a bug of this server dropped a connection: ${String(error)}`;
        this.#log({ kind: "dropped", address: connection.address, message });
      }
    } finally {
      this.#apply(this.#queue.leave(connection.id), connection);
    }
  }

  #handle(connection: ServerConnection, item: Packet | TextLine): void {
    if ("line" in item) {
      // A web page can make a browser send an HTTP request here whose body is Gearman.
      if (/ HTTP\/\d/.test(item.line)) throw new GearmanError("GARBAGE", "the peer speaks HTTP");
      const identity = { software: this.#software, pid: process.pid };
      const { text, effects } = handleLine(this.#queue, item.line, identity);
      this.#send(connection, fromKey(text));
      this.#apply(effects, connection);
    } else this.#apply(handleRequest(this.#queue, connection.id, item), connection);
  }

  /** @param cause the connection whose input has these effects */
  #apply(effects: readonly Effect[], cause: ServerConnection): void {
    for (const effect of effects) {
      switch (effect.kind) {
        case "send": {
          const bytes = encode("RES", effect.type, ...effect.args);
          for (const id of effect.to) {
            const connection = this.#connections.get(id);
            if (connection) this.#send(connection, bytes);
          }
          break;
        }
        case "start-timer":
          this.#startTimer(effect.handle, effect.seconds, cause);
          break;
        case "stop-timer":
          this.#timers.get(effect.handle)?.();
          this.#timers.delete(effect.handle);
          break;
        case "keep":
        case "run":
        case "forget":
          this.#journal?.note(effect.kind, effect.job);
          break;
        case "worker-lost":
          this.#log({ kind: "worker-lost", address: cause.address, message: effect.message });
          break;
      }
    }
  }

  #send(connection: ServerConnection, bytes: Buffer): void {
    if (!connection.send(bytes)) this.#drop(connection, "it doesn't read");
  }

  #drop(connection: ServerConnection, why: string): void {
    const message = `a connection was dropped with ${connection.held} bytes waiting: ${why}`;
    connection.drop();
    this.#log({ kind: "dropped", address: connection.address, message });
  }

  /** When all connections together hold too much, drops the one that holds most. */
  #freeMemory(): void {
    let sum = this.#queue.jobs.bytes;
    let heaviest: ServerConnection | undefined;
    for (const connection of this.#connections.values()) {
      sum += connection.held;
      if (connection.held > (heaviest?.held ?? 0)) heaviest = connection;
    }
    if (heaviest && sum > this.#maxMemory) this.#drop(heaviest, "the memory is full, and it holds the most");
  }

  #startTimer(handle: string, seconds: number, cause: ServerConnection): void {
    const expire = () => {
      this.#timers.delete(handle);
      this.#apply(this.#queue.expire(handle), cause);
    };
    this.#timers.set(handle, this.#clock.after(Math.min(seconds * 1000, maxTimerMs), expire));
  }
}
