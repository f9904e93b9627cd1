/** A line over a console server that passes only bytes, and the TCP connection under every console server's line. */
import type { Socket } from "node:net";
import { type Address, formatAddress } from "#/lib/address.ts";
import { connectTcp } from "#/lib/tcp.ts";
import { DeviceError } from "../errors.ts";
import type { Line, LineErrors, ModemState, Receive } from "./line.ts";

const connectTimeoutMs = 10_000;
/** How long a write may go without progress. */
const writeTimeoutMs = 10_000;

/** @throws DeviceError PORT_ABSENT */
export async function openTcp(address: Address, receive: Receive, signal: AbortSignal): Promise<Line> {
  return new TcpLine(await dialServer(address, signal), formatAddress(address), receive);
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

  setFormat(): Promise<void> {
    return Promise.reject(this.#refusal("format of characters"));
  }

  errors(): LineErrors | undefined {
    return undefined;
  }

  modem(): ModemState | undefined {
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    await this.closed;
  }

  #refusal(what: string): DeviceError {
    const message = `${this.#name} passes only bytes, no ${what}: enable RFC 2217 on the console server and write rfc2217:// instead of tcp://`;
    return new DeviceError("PORT_REFUSED", message);
  }
}

/** Resolves when the socket is closed: with the reason, or with undefined if it was destroyed on this side. */
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

/** @throws DeviceError PORT_ABSENT if it can't be reached */
export async function dialServer(address: Address, signal: AbortSignal): Promise<Socket> {
  try {
    return await connectTcp(address, AbortSignal.any([signal, AbortSignal.timeout(connectTimeoutMs)]));
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const why = code === "ABORT_ERR" ? "it doesn't answer" : (cause as Error).message;
    const message = `the console server ${formatAddress(address)} can't be reached: ${why}`;
    throw new DeviceError("PORT_ABSENT", message, { cause });
  }
}

/** Resolves when the system has all of the bytes. @throws DeviceError PORT_STUCK, PORT_LOST */
export async function writeSocket(socket: Socket, bytes: Uint8Array, name: string): Promise<void> {
  if (socket.destroyed || !socket.writable) throw new DeviceError("PORT_LOST", `${name} is closed`);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Copied, because the caller may reuse its buffer after the write returns.
  socket.write(Buffer.from(bytes), (error) => (error ? reject(error) : resolve()));
  let progress = performance.now();
  let left = socket.writableLength;
  const timer = setInterval(() => {
    if (socket.writableLength !== left) progress = performance.now();
    left = socket.writableLength;
    if (performance.now() - progress > writeTimeoutMs)
      reject(new DeviceError("PORT_STUCK", `${name} has accepted no bytes for ${writeTimeoutMs / 1000} s`));
  }, writeTimeoutMs / 10);
  try {
    await promise;
  } catch (cause) {
    if (cause instanceof DeviceError) throw cause;
    throw new DeviceError("PORT_LOST", `${name} is closed: ${(cause as Error).message}`, { cause });
  } finally {
    clearInterval(timer);
  }
}
