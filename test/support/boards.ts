/** An agent with real boards: what their configuration has in common, and how a test waits for them. */
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { DeviceStatus } from "#/lib/status.ts";
import type { Target } from "../targets/target.ts";
import type { TestAgent } from "./agent.ts";
import { object, submit, type Watched } from "./clients.ts";
import { patienceMs } from "./servers.ts";

/** The part of a device's configuration that finds and restarts an emulated board. */
export function boardYaml(target: Target, options: { power?: boolean } = {}): string {
  const command = (action: "on" | "off") => `${action}: ${JSON.stringify(target.powerCommand(action))}`;
  const power = options.power ? `, power: { ${command("on")}, ${command("off")} }` : "";
  return `port: ${JSON.stringify(target.tty)}, boot-timeout: 60s${power}`;
}

export async function devices(agent: TestAgent): Promise<DeviceStatus[]> {
  return JSON.parse((await agent.command("devices", "--json")).stdout);
}

/** Resolves when the device has come to a state, the nth time since the agent began. */
export async function becomes(agent: TestAgent, name: string, state: string, nth = 1): Promise<void> {
  await agent.logged((line) => line.device === name && line.state === state, nth);
}

/** Submits a build that streams its console. */
export function build(port: number, name: string, unique: string, more: object = {}): Promise<Watched> {
  const data = JSON.stringify({ LABGEAR_STREAM: "1", ...more });
  return submit(port, { function: `build:${name}`, unique, data });
}

/** How a build ended, as its client was told; undefined: without a result. */
export async function resultOf(watched: Watched): Promise<unknown> {
  const events = await watched.ended;
  return object(events.findLast(({ type }) => type === "data")).result;
}

/** A password's file beside the configuration. */
export async function passwordFile(folder: string, password: string): Promise<string> {
  const file = join(folder, "password");
  await writeFile(file, `${password}\n`, { mode: 0o600 });
  return file;
}

/** A board behind a console server: silent until a test lets it speak. */
export async function startNetworkBoard() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const connected = new Set<Socket>();
  let connections = 0;
  server.on("connection", (socket) => {
    connections += 1;
    connected.add(socket.on("error", () => {}).once("close", () => connected.delete(socket)));
  });
  const { port } = server.address() as { port: number };
  return {
    ...{ port, connected },
    get connections() {
      return connections;
    },
    /** Resolves when it was connected to so often. */
    async connectedTimes(count: number) {
      while (connections < count)
        await once(server, "connection", { signal: AbortSignal.timeout(patienceMs) });
    },
    say(text: string) {
      for (const socket of connected) socket.write(text);
    },
    /** It takes no connection until accept(). */
    async refuse() {
      for (const socket of connected) socket.destroy();
      server.close();
      await once(server, "close");
    },
    async accept() {
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
    },
    async [Symbol.asyncDispose]() {
      for (const socket of connected) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, "close");
    },
  };
}
