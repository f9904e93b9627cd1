/** One open connection that speaks Gearman: packets out, packets (and lines of text) in, and why it ended. */
import type { Socket } from "node:net";
import { GearmanError } from "./errors.ts";
import { lossFailure } from "./failures.ts";
import { encode, type Packet, type PacketType } from "./packet.ts";
import { PacketParser, type TextLine } from "./parser.ts";

/** The most unsent bytes held for a server that doesn't read. */
const maxUnsent = 64 * 1024 * 1024;
/** Milliseconds that a server has to take what is still to be sent, once the connection is being closed. */
const lingering = 1000;

export interface ConnectionOptions {
  /** Host and port, for messages. */
  readonly server: string;
  /** Accept lines of the admin protocol too. */
  readonly text?: boolean;
  /** The largest data of an incoming packet, in bytes. */
  readonly maxPacket?: number;
}

/**
 * The connection of a worker, a client or an administrator to a server.
 *
 *     open ──end(), peer, network, garbage──> ended (a reason; nothing comes in, what goes out is dropped)
 */
export class Connection {
  readonly server: string;
  /** Resolves with the reason when the connection has ended, from either side. Never rejects. */
  readonly closed: Promise<GearmanError>;
  readonly #socket: Socket;
  readonly #parser: PacketParser;
  readonly #gone: Promise<void>;
  /** Who waits for room to send; a list of our own, since what waits on `closed` is kept for as long as that is open. */
  readonly #full: (() => void)[] = [];
  #resolveClosed: (reason: GearmanError) => void = () => {};
  #state: { readonly kind: "open" } | { readonly kind: "ended"; readonly reason: GearmanError } = {
    kind: "open",
  };

  /** @param socket a connected one, TCP or TLS, which the connection owns from here on */
  constructor(socket: Socket, options: ConnectionOptions) {
    this.server = options.server;
    this.#socket = socket;
    const { text = false, maxPacket } = options;
    this.#parser = new PacketParser({
      magic: "RES",
      text,
      ...(maxPacket === undefined ? {} : { maxPacket }),
    });
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#gone = new Promise((resolve) => {
      socket.once("close", () => {
        this.#finish(new GearmanError("CLOSED", `${this.server} closed the connection`));
        resolve();
      });
    });
    socket.on("error", (error) => this.#finish(lossFailure(this.server, error)));
    socket.on("drain", () => this.#release());
    socket.on("end", () => {
      const where = this.#parser.idle ? "" : " in the middle of a packet";
      this.#finish(new GearmanError("CLOSED", `${this.server} closed the connection${where}`));
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

  /** Resolves when the server has taken enough to send more without piling it up here, or has gone. */
  async drained(): Promise<void> {
    if (!this.open || !this.#socket.writableNeedDrain) return;
    await new Promise<void>((resolve) => this.#full.push(resolve));
  }

  /** Stops reading until `resume`, so that a peer that sends faster than its packets are used has to wait. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Ends it: at once with an error as the reason, otherwise after what has been sent is out (1 s at most). */
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
    const timer = setTimeout(() => this.#socket.destroy(), lingering);
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
    this.#release();
  }

  #release(): void {
    for (const resolve of this.#full.splice(0)) resolve();
  }
}
