/** Keeps a port for one holder on this box, also while it is lent to another program. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { DeviceError } from "../errors.ts";

/** Milliseconds for the holder to say who it is. */
const askTimeout = 500;

/**
 * Takes a name in the kernel's abstract socket space (unix(7)): no crash can leave it behind, and there can be one holder only.
 * Who connects is told the holder.
 *
 * @param key names the port itself, whatever path leads to it
 * @param shown the port, for the message
 * @throws DeviceError PORT_BUSY when another has it
 */
export async function claimPort(key: string, shown: string, who: string): Promise<Disposable> {
  const address = `\0labgear/port/${createHash("sha256").update(key).digest("hex")}`;
  const server = createServer((socket) => {
    socket.on("error", () => {}).end(who);
    socket.setTimeout(askTimeout, () => socket.destroy());
  });
  server.maxConnections = 16;
  server.listen(address);
  try {
    await once(server, "listening");
  } catch (cause) {
    const holder = (await askHolder(address)) || "another labgear";
    throw new DeviceError("PORT_BUSY", `${shown} is in use by ${holder}: one of the two has to let it go`, {
      cause,
    });
  }
  server.unref();
  // A connection that can't be accepted is no loss.
  server.on("error", () => {});
  return { [Symbol.dispose]: () => void server.close() };
}

async function askHolder(address: string): Promise<string> {
  const socket = connect(address).setEncoding("utf8");
  let said = "";
  const timer = setTimeout(() => socket.destroy(), askTimeout);
  try {
    for await (const text of socket) said = (said + text).slice(0, 200);
  } catch {
    // Whoever it is, it doesn't say.
  }
  clearTimeout(timer);
  return said.replaceAll(/[\p{Cc}\p{Cf}]/gu, "");
}
