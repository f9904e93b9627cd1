/** A client, worker or administrator made of a raw socket, for tests of single packets. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { encode, type PacketType } from "#/gearman/wire/packet.ts";
import { PacketParser } from "#/gearman/wire/parser.ts";
import { bounded } from "../support/servers.ts";

export class Peer implements AsyncDisposable {
  readonly socket: Socket;
  readonly #items: AsyncGenerator<string, void>;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    this.#items = itemsOf(socket);
  }

  static async connect(port: number): Promise<Peer> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await bounded(once(socket, "connect"));
    return new Peer(socket);
  }

  send(type: PacketType, ...args: (string | Uint8Array)[]): this {
    this.socket.write(encode("REQ", type, ...args));
    return this;
  }

  /** The next packet, as `TYPE ARG ARG…`, or the next line; "closed" after the last one. */
  async next(): Promise<string> {
    const item = await bounded(this.#items.next());
    return item.value ?? "closed";
  }

  /** The answer to an admin line, without line ends; a list goes to its `.`. */
  async ask(line: string): Promise<string[]> {
    this.socket.write(`${line}\n`);
    const lines = [await this.next()];
    if (/^(OK|ERR)\b/.test(lines[0] ?? "")) return lines;
    while (lines.at(-1) !== "." && lines.at(-1) !== "closed") lines.push(await this.next());
    return lines;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.socket.closed) return;
    const closed = once(this.socket, "close");
    this.socket.destroy();
    await closed;
  }
}

async function* itemsOf(socket: Socket): AsyncGenerator<string, void> {
  const parser = new PacketParser({ magic: "RES", text: true });
  try {
    for await (const chunk of socket) {
      for (const item of parser.push(chunk as Buffer)) {
        yield "line" in item ? item.line : [item.type, ...item.args].join(" ");
      }
    }
  } catch {
    // A reset is an end too.
  }
}
