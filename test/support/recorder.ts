/** A proxy in front of a real job server that notes the packets of both directions. */
import { connect } from "node:net";
import type { Packet } from "#/gearman/packet.ts";
import { PacketParser } from "#/gearman/parser.ts";
import { bounded, type RunningRawServer, startRawServer } from "./servers.ts";

export interface Recorded {
  readonly from: "worker" | "server";
  /** Which connection, from 1. */
  readonly connection: number;
  readonly packet: Packet;
}

export interface Recorder extends RunningRawServer {
  readonly packets: readonly Recorded[];
  /** The packets so far as text: `worker CAN_DO f`. */
  readonly lines: readonly string[];
  /** Resolves when the condition holds for the lines so far. */
  until(condition: (lines: readonly string[]) => boolean): Promise<void>;
  /** Drops all connections. */
  cut(): void;
  /** Drops new connections too, or no longer. */
  refuse(refusing: boolean): void;
}

export async function startRecorder(to: { host: string; port: number }): Promise<Recorder> {
  const packets: Recorded[] = [];
  const waiting = new Set<() => void>();
  const ends = new Set<() => void>();
  let count = 0;
  let refusing = false;
  const lines = () => packets.map(show);
  const server = await startRawServer((socket) => {
    if (refusing) return void socket.destroy();
    const connection = ++count;
    const upstream = connect(to.port, to.host);
    const note = (from: Recorded["from"]) => {
      const parser = new PacketParser({ magic: from === "worker" ? "REQ" : "RES" });
      return (chunk: Buffer) => {
        for (const item of parser.push(chunk))
          if ("args" in item) packets.push({ from, connection, packet: item });
        for (const check of [...waiting]) check();
      };
    };
    socket.on("data", note("worker")).pipe(upstream);
    upstream.on("data", note("server")).pipe(socket);
    upstream.on("error", () => socket.destroy());
    socket.on("close", () => upstream.destroy());
    ends.add(() => socket.destroy());
  });
  return {
    ...server,
    packets,
    get lines() {
      return lines();
    },
    cut() {
      for (const end of ends) end();
      ends.clear();
    },
    refuse(whether) {
      refusing = whether;
    },
    until(condition) {
      const held = new Promise<void>((resolve) => {
        const check = () => {
          if (!condition(lines())) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
      });
      return bounded(held).catch((error: Error) => {
        throw new Error(`${error.message}; there were: ${lines().join(", ")}`);
      });
    },
  };
}

const show = ({ from, packet }: Recorded): string =>
  [from, packet.type, ...packet.args.map(String)].join(" ");
