/** TCP connections that notice within a minute when the peer has vanished, idle or with data in flight. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Address } from "./address.ts";

/** Keepalive (tcp(7)): the first probe, the distance of the next ones, and how many may go unanswered. */
const keepAliveDelayMs = 20_000;
const keepAliveIntervalMs = 10_000;
const maxUnansweredProbes = 3;
/** Linux sends no probes while data is unacknowledged, and retransmits for a quarter of an hour by default. */
const userTimeoutMs = keepAliveDelayMs + keepAliveIntervalMs * maxUnansweredProbes;

/**
 * Connects, with keepalive and TCP_USER_TIMEOUT set and Nagle's algorithm off.
 *
 * @param signal gives up; it has no effect once the connection stands
 * @throws the system's error, an AggregateError where several addresses were tried; AbortError
 */
export async function connectTcp({ host, port }: Address, signal: AbortSignal): Promise<Socket> {
  const socket = connect({ host, port, noDelay: true });
  try {
    await once(socket, "connect", { signal });
  } catch (error) {
    socket.on("error", () => {}).destroy();
    throw error;
  }
  socket.setKeepAlive(true, keepAliveDelayMs, keepAliveIntervalMs, maxUnansweredProbes);
  setUserTimeout(socket);
  return socket;
}

const ipprotoTcp = 6;
const tcpUserTimeout = 18;

/**
 * Node has no option for TCP_USER_TIMEOUT. Without node:ffi, a peer that vanishes with data in flight is noticed only when
 * the kernel stops retransmitting.
 */
function setUserTimeout(socket: Socket): void {
  const descriptor = descriptorOf(socket);
  if (process.platform !== "linux" || descriptor === undefined) return;
  try {
    using library = process.getBuiltinModule("node:ffi").dlopen(null, {
      setsockopt: { arguments: ["i32", "i32", "i32", "buffer", "u32"], return: "i32" },
    });
    const value = Buffer.from(new Uint32Array([userTimeoutMs]).buffer);
    library.functions.setsockopt(descriptor, ipprotoTcp, tcpUserTimeout, value, value.length);
  } catch {
    // Keepalive still finds an idle peer.
  }
}

/** Node doesn't publish the file descriptor of a socket. */
function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, "_handle");
  const descriptor: unknown = typeof handle === "object" && handle ? Reflect.get(handle, "fd") : undefined;
  return typeof descriptor === "number" && descriptor >= 0 ? descriptor : undefined;
}
