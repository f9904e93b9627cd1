/** Tells TCP to give a silent peer up within a minute, whether the connection is idle or has data in flight. */
import type { Socket } from "node:net";

/** Milliseconds: probes begin after so long without traffic, come so far apart, and this many may go unanswered. */
const idle = 20_000;
const interval = 10_000;
const count = 3;
/** Milliseconds that sent data may stay unacknowledged; Linux sends no probes then, and would try for a quarter of an hour. */
const userTimeout = idle + interval * count;

/**
 * Sets keepalive and TCP_USER_TIMEOUT (tcp(7)) on a connected socket. Node has no option for the latter; where node:ffi
 * can't set it, a peer that vanished with data in flight is only noticed when the kernel stops retransmitting.
 *
 * @returns true when both are set
 */
export function watchPeer(socket: Socket): boolean {
  socket.setKeepAlive(true, idle, interval, count);
  const descriptor = descriptorOf(socket);
  return process.platform === "linux" && descriptor !== undefined && setUserTimeout(descriptor);
}

/** The file descriptor under a socket. Node shows it nowhere public. */
function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, "_handle");
  const descriptor: unknown = typeof handle === "object" && handle ? Reflect.get(handle, "fd") : undefined;
  return typeof descriptor === "number" && descriptor >= 0 ? descriptor : undefined;
}

const ipprotoTcp = 6;
const tcpUserTimeout = 18;

function setUserTimeout(descriptor: number): boolean {
  try {
    using library = process.getBuiltinModule("node:ffi").dlopen(null, {
      setsockopt: { arguments: ["i32", "i32", "i32", "buffer", "u32"], return: "i32" },
    });
    const value = new Uint32Array([userTimeout]);
    const bytes = Buffer.from(value.buffer);
    return library.functions.setsockopt(descriptor, ipprotoTcp, tcpUserTimeout, bytes, bytes.length) === 0;
  } catch {
    return false;
  }
}
