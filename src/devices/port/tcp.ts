/** A line over a console server that passes bytes and nothing else. */
import type { Socket } from "node:net";
import type { SystemCalls } from "#/host/syscalls.ts";
import { DeviceError } from "../errors.ts";
import type { Line, LineErrors, Receive } from "./line.ts";
import { dialServer, type ServerAddress, serverName, writeSocket } from "./socket.ts";

/** @throws DeviceError PORT_ABSENT */
export async function openTcp(
  address: ServerAddress,
  calls: SystemCalls | undefined,
  receive: Receive,
  signal: AbortSignal,
): Promise<Line> {
  return new TcpLine(await dialServer(address, calls, signal), serverName(address), receive);
}

class TcpLine implements Line {
  readonly closed: Promise<DeviceError | undefined>;
  readonly #socket: Socket;
  readonly #name: string;

  constructor(socket: Socket, name: string, receive: Receive) {
    this.#socket = socket;
    this.#name = name;
    this.closed = socketEnd(socket, name);
    socket.on("data", receive);
  }

  write(bytes: Uint8Array): Promise<void> {
    return writeSocket(this.#socket, bytes, this.#name);
  }

  setControl(): Promise<void> {
    return Promise.reject(this.#refusal("control lines"));
  }

  sendBreak(): Promise<void> {
    return Promise.reject(this.#refusal("break"));
  }

  setBaud(): Promise<void> {
    return Promise.reject(this.#refusal("speed"));
  }

  errors(): LineErrors | undefined {
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    await this.closed;
  }

  #refusal(what: string): DeviceError {
    const message = `${this.#name} passes bytes alone, no ${what}: let the console server speak RFC 2217, and say rfc2217:// in place of tcp://`;
    return new DeviceError("PORT_REFUSED", message);
  }
}

/** Settles when the socket is closed: with why, or with undefined when it was destroyed from here. */
export function socketEnd(socket: Socket, name: string): Promise<DeviceError | undefined> {
  const { promise, resolve } = Promise.withResolvers<DeviceError | undefined>();
  const lose = (why: string) => resolve(new DeviceError("PORT_LOST", `${name} ${why}`));
  socket.once("error", ({ message }) => lose(`failed: ${message}`));
  socket.once("end", () => {
    lose("closed the connection");
    socket.destroy();
  });
  socket.once("close", () => resolve(undefined));
  return promise;
}
