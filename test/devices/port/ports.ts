/** Ports for tests, and waiting for what they do. */

import { Discovery } from "#/devices/discovery/discovery.ts";
import { Port, type PortState } from "#/devices/port/port.ts";
import { loadSystemCalls } from "#/host/syscalls.ts";
import { patienceMs } from "../../support/servers.ts";

export const calls = loadSystemCalls();

/** A port of its own discovery, which goes with it. */
export function portAt(path: string, options: { name?: string; ringSize?: number; baud?: number } = {}) {
  const discovery = new Discovery();
  const port = new Port({
    name: options.name ?? "board",
    config: { address: { kind: "tty", match: { path } }, baud: options.baud ?? 115_200, flow: "none" },
    discovery,
    calls,
    ...(options.ringSize !== undefined && { ringSize: options.ringSize }),
  });
  const end = port[Symbol.asyncDispose].bind(port);
  return Object.assign(port, {
    async [Symbol.asyncDispose]() {
      await end();
      discovery[Symbol.dispose]();
    },
  });
}

/** Waits for a state, with a bound. */
export async function reaches<K extends PortState["kind"]>(
  port: Port,
  kind: K,
): Promise<Extract<PortState, { kind: K }>> {
  const late = AbortSignal.timeout(patienceMs);
  while (port.state.kind !== kind) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fail = () => reject(new Error(`the port is ${JSON.stringify(port.state)}, not ${kind}`));
    late.addEventListener("abort", fail);
    port.once("state", () => resolve());
    await promise;
    late.removeEventListener("abort", fail);
  }
  return port.state as Extract<PortState, { kind: K }>;
}

/** Reads from an offset until the text is there, with a bound; gives all that was read. */
export async function hears(port: Port, text: string, from = 0): Promise<string> {
  let heard = "";
  for await (const { bytes } of port.follow(from, AbortSignal.timeout(patienceMs))) {
    heard += Buffer.from(bytes).toString("latin1");
    if (heard.includes(text)) return heard;
  }
  throw new Error(`no ${JSON.stringify(text)} in ${JSON.stringify(heard.slice(-500))}`);
}

/** Waits until a condition holds, with a bound. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const late = performance.now() + patienceMs;
  while (!condition()) {
    if (performance.now() > late) throw new Error(`still not ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
