/** One connection of the job server: its bytes in, cut into items; its bytes out, with a cap. */
import type { Socket } from "node:net";
import type { Packet } from "../wire/packet.ts";
import { PacketParser, type TextLine } from "../wire/parser.ts";
import type { ConnectionId } from "./jobs.ts";

export interface ConnectionLimits {
  readonly maxPacket: number;
  /** Bytes that may wait for a peer that doesn't read, before it is dropped. */
  readonly maxOutput: number;
  /** The connection holds enough memory to check the sum over all connections. */
  readonly onLoad: () => void;
}

/** Bytes that a connection may hold before onLoad is called. */
const smallLoad = 64 * 1024;

/** A closing connection may take this long to send what is left. */
const closeTimeoutMs = 5_000;

/**
 *     open ──the peer ends, or sends what is no Gearman──> closing ──last bytes sent──> closed
 *       └───too much waits for the peer, or the link breaks───────────────────────────────^
 */
export class ServerConnection {
  readonly id: ConnectionId;
  readonly address: string;
  readonly #socket: Socket;
  readonly #parser: PacketParser;
  readonly #limits: ConnectionLimits;
  #unfinished = 0;

  constructor(id: ConnectionId, socket: Socket, limits: ConnectionLimits) {
    this.id = id;
    this.address = addressOf(socket);
    this.#socket = socket;
    this.#limits = limits;
    this.#parser = new PacketParser({ magic: "REQ", text: true, maxPacket: limits.maxPacket });
  }

  /** Bytes that it holds in memory, about: the unfinished item, and what the peer hasn't read yet. */
  get held(): number {
    return this.#socket.destroyed ? 0 : this.#unfinished + this.#socket.writableLength;
  }

  /**
   * Reads until the peer ends; then, or after an error, sends what is waiting and closes. Doesn't read on while the peer
   * doesn't read its answers, so that they can't pile up.
   * @throws GearmanError when the peer sends what is no Gearman
   * @throws Error of the socket when the link breaks
   */
  async read(handler: (item: Packet | TextLine) => void): Promise<void> {
    try {
      // By default, the end of the peer's half would throw away what waits in ours.
      for await (const chunk of this.#socket.iterator({ destroyOnReturn: false })) {
        this.#unfinished += (chunk as Buffer).length;
        for (const item of this.#parser.push(chunk as Buffer)) {
          this.#unfinished = 0;
          handler(item);
          if (this.#socket.writableNeedDrain) await drained(this.#socket);
          if (this.#socket.destroyed) return;
        }
        if (this.#parser.idle) this.#unfinished = 0;
        this.#weigh();
      }
    } finally {
      closeSoon(this.#socket);
    }
  }

  /** @returns false when too much waits already: drop the peer */
  send(bytes: Buffer): boolean {
    if (this.#socket.destroyed || !this.#socket.writable) return true;
    if (this.#socket.writableLength > this.#limits.maxOutput) return false;
    this.#socket.write(bytes);
    this.#weigh();
    return true;
  }

  /** Ends the connection now; what waits is lost. */
  drop(): void {
    this.#socket.destroy();
  }

  #weigh(): void {
    if (this.held > smallLoad) this.#limits.onLoad();
  }
}

/** Sends the last bytes, then closes; a peer that doesn't read them in time is cut off. */
export function closeSoon(socket: Socket, last?: Buffer): void {
  socket.setTimeout(closeTimeoutMs, () => socket.destroy());
  if (last) socket.write(last);
  socket.destroySoon();
}

/** The peer's IP address; an IPv4 one stays IPv4 on a dual-stack socket. */
export const addressOf = (socket: Socket): string => (socket.remoteAddress ?? "-").replace(/^::ffff:/, "");

/** Resolves when the peer has read what was waiting, or is gone. */
async function drained(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.once("drain", resolve).once("close", resolve);
  await promise;
  socket.off("drain", resolve).off("close", resolve);
}
