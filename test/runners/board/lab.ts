/** A device whose board is a small program behind a console server, and builds on it. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import type { DeviceConfig } from "#/config/model.ts";
import { type Device, openDevice } from "#/devices/device.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import type { Health } from "#/devices/health.ts";
import type { HostCommand } from "#/devices/power.ts";
import type { BoardRun, BoardVerdict } from "#/runners/board/board.ts";

export interface LabOptions {
  readonly config?: Partial<DeviceConfig>;
  /** Each connection of the device. */
  readonly board: (socket: Socket) => void;
  readonly command?: HostCommand;
  readonly health?: Health;
  readonly saveHealth?: (health: Health) => void;
}

/** Starts the device, and waits until it is ready unless told which state to wait for. */
export async function startLab({ config, board, command, health, saveHealth }: LabOptions, state = "ready") {
  const sockets = new Set<Socket>();
  let isOver = false;
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => {}));
    socket.once("close", () => sockets.delete(socket));
    board(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const device = openDevice(
    {
      name: "mcu-1",
      classes: ["mcu"],
      console: "raw",
      power: { timeoutMs: 30_000 },
      health: {},
      quarantineAfter: 3,
      bootTimeoutMs: 5000,
      bootSilenceMs: 3000,
      ...config,
      port: {
        address: { kind: "tcp", host: "127.0.0.1", port },
        baud: 115_200,
        flow: "none",
        ...config?.port,
        ...(config?.port && { address: { ...config.port.address, port } as never }),
      },
    },
    {
      discovery: new Discovery(),
      calls: undefined,
      command: command ?? (async () => ({ code: 0, output: "" })),
      health: health ?? { failures: 0 },
      saveHealth: saveHealth ?? (() => {}),
    },
  );
  const lab = {
    device,
    /** The port is gone, as when a board with native USB resets. */
    async unplug(): Promise<void> {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
    /** Nothing comes back once the lab is over: an open port would keep the process. */
    async plug(): Promise<void> {
      if (isOver) return;
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
    },
    say(text: string): void {
      for (const socket of sockets) socket.write(text);
    },
    /** Waits for the device's next state of this kind. */
    async becomes(kind: string): Promise<void> {
      const signal = AbortSignal.timeout(60_000);
      while (device.state.kind !== kind) await once(device, "changed", { signal });
    },
    async [Symbol.asyncDispose]() {
      isOver = true;
      await device[Symbol.asyncDispose]();
      for (const socket of sockets) socket.destroy();
      if (server.listening) server.close();
    },
  };
  await lab.becomes(state);
  return lab;
}

export interface BuildOptions {
  /** What the host's scripts do. @returns the exit code */
  readonly host?: (script: string) => Promise<number>;
}

/** Reserves the device, does the work, and releases it. */
export async function onBoard(
  device: Device,
  work: (run: BoardRun) => Promise<BoardVerdict>,
  { host }: BuildOptions = {},
): Promise<BoardVerdict & { readonly output: string }> {
  const signal = AbortSignal.timeout(60_000);
  using reservation = await device.reserve("job#1", { name: "job" }, signal);
  let output = "";
  const verdict = await work({
    reservation,
    variables: {},
    bootTimeoutMs: 5000,
    signal,
    output: async (bytes) => {
      output += Buffer.from(bytes).toString("latin1");
    },
    note: async () => {},
    progress: () => {},
    step: () => {},
    host: async (script) =>
      ({ code: (await host?.(script)) ?? 0, signal: null, oom: false, stopped: false }) as never,
    files: { source: async () => "none", sink: async () => "none" },
  });
  reservation.release({ kind: "well", passed: verdict.passed });
  return { ...verdict, output };
}
