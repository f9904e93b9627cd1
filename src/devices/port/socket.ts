/** A TCP connection to a console server: opening it, and writing to it in bounded time. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { SystemCalls } from "#/host/syscalls.ts";
import { DeviceError } from "../errors.ts";

/** Milliseconds: to connect, and without progress while writing. */
const connectTimeout = 10_000;
const writeTimeout = 10_000;
/** Milliseconds: the system asks after so long without traffic whether the peer is there, so far apart, and this often. */
const keepAliveAfter = 15_000;
const keepAliveEvery = 5000;
const keepAliveCount = 3;
/** Milliseconds that sent bytes may stay unacknowledged: then Linux doesn't ask, and would try for a quarter of an hour. */
const userTimeout = keepAliveAfter + keepAliveEvery * keepAliveCount;

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

export function serverName({ host, port }: ServerAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** @throws DeviceError PORT_ABSENT when it can't be reached */
export async function dialServer(
  address: ServerAddress,
  calls: SystemCalls | undefined,
  signal: AbortSignal,
): Promise<Socket> {
  const socket = connect({ host: address.host, port: address.port, noDelay: true });
  try {
    await once(socket, "connect", { signal: AbortSignal.any([signal, AbortSignal.timeout(connectTimeout)]) });
    socket.setKeepAlive(true, keepAliveAfter, keepAliveEvery, keepAliveCount);
    const handle: unknown = Reflect.get(socket, "_handle");
    const descriptor: unknown = typeof handle === "object" && handle ? Reflect.get(handle, "fd") : undefined;
    if (typeof descriptor === "number" && descriptor >= 0) calls?.setUserTimeout(descriptor, userTimeout);
    return socket;
  } catch (cause) {
    socket.on("error", () => {}).destroy();
    const code = (cause as NodeJS.ErrnoException).code;
    const why = code === "ABORT_ERR" ? "it doesn't answer" : (cause as Error).message;
    const message = `the console server ${serverName(address)} can't be reached: ${why}`;
    throw new DeviceError("PORT_ABSENT", message, { cause });
  }
}

/** Resolves when the system has all of it. @throws DeviceError PORT_STUCK, PORT_LOST */
export async function writeSocket(socket: Socket, bytes: Uint8Array, name: string): Promise<void> {
  if (socket.destroyed || !socket.writable) throw new DeviceError("PORT_LOST", `${name} is closed`);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Taken before the write returns: the caller's bytes may change afterwards.
  socket.write(Buffer.from(bytes), (error) => (error ? reject(error) : resolve()));
  let progress = performance.now();
  let left = socket.writableLength;
  const timer = setInterval(() => {
    if (socket.writableLength !== left) progress = performance.now();
    left = socket.writableLength;
    if (performance.now() - progress > writeTimeout)
      reject(new DeviceError("PORT_STUCK", `${name} takes no bytes for ${writeTimeout / 1000} s`));
  }, writeTimeout / 10);
  try {
    await promise;
  } catch (cause) {
    if (cause instanceof DeviceError) throw cause;
    throw new DeviceError("PORT_LOST", `${name} is closed: ${(cause as Error).message}`, { cause });
  } finally {
    clearInterval(timer);
  }
}
