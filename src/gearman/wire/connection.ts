/** One open connection that speaks Gearman: packets out, packets and lines of text in, and why it ended. */
import type { Socket } from "node:net";
import { Condition } from "#/lib/condition.ts";
import { GearmanError, lossError } from "./errors.ts";
import { encode, type Packet, type PacketType } from "./packet.ts";
import { PacketParser, type TextLine } from "./parser.ts";

/** Bytes that may wait for a server that doesn't read. */
const maxUnsent = 64 * 1024 * 1024;
/** A closing connection may take this long to send what is left. */
const closeTimeoutMs = 1000;

export interface ConnectionOptions {
  /** HOST:PORT, for messages. */
  readonly server: string;
  /** Accept lines of the admin protocol too. */
  readonly text: boolean;
}

/**
 * The connection of a worker, a client or an administrator to a server.
 *
 *     open ──end(), peer, network, garbage──> ended (with a reason; nothing comes in, nothing more goes out)
 */
export class Connection {
  readonly server: string;
  /** Resolves with the reason when the connection has ended, from either side. Never rejects. */
  readonly closed: Promise<GearmanError>;
  readonly #socket: Socket;
  readonly #parser: PacketParser;
  readonly #gone: Promise<void>;
  readonly #writable = new Condition();
  #resolveClosed: (reason: GearmanError) => void = () => {};
  #state: { readonly kind: "open" } | { readonly kind: "ended"; readonly reason: GearmanError } = {
    kind: "open",
  };

  /** @param socket a connected one, TCP or TLS, which the connection owns from here on */
  constructor(socket: Socket, { server, text }: ConnectionOptions) {
    this.server = server;
    this.#socket = socket;
    this.#parser = new PacketParser({ magic: "RES", text });
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#gone = new Promise((resolve) => {
      socket.once("close", () => {
        this.#finish(new GearmanError("CLOSED", `${server} closed the connection`));
        resolve();
      });
    });
    socket.on("error", (error) => this.#finish(lossError(server, error)));
    socket.on("drain", () => this.#writable.wake());
    socket.on("end", () => {
      const where = this.#parser.idle ? "" : " in the middle of a packet";
      this.#finish(new GearmanError("CLOSED", `${server} closed the connection${where}`));
    });
  }

  get open(): boolean {
    return this.#state.kind === "open";
  }

  /** Hands everything that comes in to the handler, in order. Until this is called, nothing is read. */
  receive(handler: (item: Packet | TextLine) => void): void {
    this.#socket.on("data", (chunk: Buffer) => {
      try {
        for (const item of this.#parser.push(chunk)) {
          if (!this.open) return;
          handler(item);
        }
      } catch (error) {
        if (!(error instanceof GearmanError)) throw error;
        this.end(new GearmanError(error.code, `${this.server}: ${error.message}`, { cause: error }));
      }
    });
  }

  /** Sends a request. Packets of one turn of the event loop leave together. On an ended connection it does nothing. */
  send(type: PacketType, ...args: (string | Uint8Array)[]): void {
    this.#write(encode("REQ", type, ...args));
  }

  /** Sends a command of the admin protocol. */
  sendLine(line: string): void {
    this.#write(Buffer.from(`${line}\n`));
  }

  /** Resolves when the server has read enough to send more without buffering it here, or when the connection has ended. */
  drained(): Promise<void> {
    return this.#writable.until(() => !this.open || !this.#socket.writableNeedDrain);
  }

  /** Stops reading until `resume`, so that TCP slows down a peer that sends faster than its packets are handled. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Ends it: with an error as the reason at once, otherwise once everything is sent, within a second. */
  end(reason?: GearmanError): void {
    if (!this.open) return;
    this.#finish(
      reason ?? new GearmanError("CLOSED", `the connection to ${this.server} was closed from here`),
    );
    if (reason) {
      this.#socket.destroy();
      return;
    }
    this.#socket.end();
    this.#socket.resume();
    const timer = setTimeout(() => this.#socket.destroy(), closeTimeoutMs);
    void this.#gone.then(() => clearTimeout(timer));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
    await this.#gone;
  }

  #write(bytes: Buffer): void {
    if (!this.open) return;
    const socket = this.#socket;
    if (socket.writableCorked === 0) {
      socket.cork();
      process.nextTick(() => socket.uncork());
    }
    socket.write(bytes);
    if (socket.writableLength > maxUnsent) {
      this.end(
        new GearmanError("CLOSED", `${this.server} doesn't read: over ${maxUnsent} bytes wait to be sent`),
      );
    }
  }

  #finish(reason: GearmanError): void {
    if (!this.open) return;
    this.#state = { kind: "ended", reason };
    this.#resolveClosed(reason);
    this.#writable.wake();
  }
}
