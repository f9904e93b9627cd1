/** A proxy in front of a real job server that notes the packets of both directions. */
import { connect, type Socket } from "node:net";
import { Transform } from "node:stream";
import type { Packet } from "#/gearman/wire/packet.ts";
import { PacketParser } from "#/gearman/wire/parser.ts";
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
  /** Drops all connections, at both ends. */
  cut(): void;
  /** Drops the server's end of one connection; the worker isn't told while the line is silent. */
  dropServerEnd(connection: number): void;
  /**
   * Makes black holes of all connections that there are now, or of one: nothing gets through in either direction, not even
   * an end, and nobody is told. `resume` lets through what was held.
   */
  silence(connection?: number): void;
  resume(): void;
  /** Drops new connections too, or no longer. */
  refuse(refusing: boolean): void;
}

interface ProxiedConnection {
  readonly gate: Gate;
  readonly socket: Socket;
  readonly upstream: Socket;
}

/** What a connection's bytes and endings pass through: at once while it is open, and when it opens again. */
export class Gate {
  readonly #held: (() => void)[] = [];
  #isOpen = true;

  shut(): void {
    this.#isOpen = false;
  }

  open(): void {
    this.#isOpen = true;
    for (const act of this.#held.splice(0)) act();
  }

  pass(act: () => void): void {
    if (this.#isOpen) act();
    else this.#held.push(act);
  }

  stream(): Transform {
    return new Transform({
      transform: (chunk, _, done) => this.pass(() => done(null, chunk)),
      flush: (done) => this.pass(done),
    });
  }
}

export async function startRecorder(to: { host: string; port: number }): Promise<Recorder> {
  const packets: Recorded[] = [];
  const waiting = new Set<() => void>();
  const proxied = new Map<number, ProxiedConnection>();
  let count = 0;
  let refusing = false;
  const lines = () => packets.map(show);
  const server = await startRawServer((socket) => {
    if (refusing) return void socket.destroy();
    const connection = ++count;
    const upstream = connect(to.port, to.host);
    const gate = new Gate();
    const note = (from: Recorded["from"]) => {
      const parser = new PacketParser({ magic: from === "worker" ? "REQ" : "RES", text: true });
      return (chunk: Buffer) => {
        for (const item of parser.push(chunk))
          if ("args" in item) packets.push({ from, connection, packet: item });
        for (const check of [...waiting]) check();
      };
    };
    socket.on("data", note("worker")).pipe(gate.stream()).pipe(upstream);
    upstream.on("data", note("server")).pipe(gate.stream()).pipe(socket);
    upstream.on("error", () => gate.pass(() => socket.destroy()));
    upstream.on("close", () => gate.pass(() => socket.end()));
    socket.on("close", () => gate.pass(() => upstream.destroy()));
    proxied.set(connection, { gate, socket, upstream });
  });
  const cut = () => {
    for (const { socket, upstream } of proxied.values()) {
      socket.destroy();
      upstream.destroy();
    }
    proxied.clear();
  };
  return {
    ...server,
    packets,
    get lines() {
      return lines();
    },
    cut,
    dropServerEnd(connection) {
      proxied.get(connection)?.upstream.destroy();
    },
    silence(connection) {
      for (const [number, { gate }] of proxied)
        if (connection === undefined || number === connection) gate.shut();
    },
    resume() {
      for (const { gate } of proxied.values()) gate.open();
    },
    refuse(whether) {
      refusing = whether;
    },
    async [Symbol.asyncDispose]() {
      cut();
      await server[Symbol.asyncDispose]();
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
