/** A line to a job server that can be cut, silenced, slowed, throttled and damaged; where it leads may change. */
import { connect, type Socket } from "node:net";
import { Transform } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { Gate } from "../support/recorder.ts";
import { type RunningRawServer, startRawServer } from "../support/servers.ts";

export interface Pace {
  /** Each chunk waits so long. */
  readonly latencyMs: number;
  /** Bytes a second; 0: any number. */
  readonly rate: number;
  /** Each connection is made up to so much later, so that they come in another order. */
  readonly startMs: number;
}

const unhurried: Pace = { latencyMs: 0, rate: 0, startMs: 0 };

interface Proxied {
  readonly gate: Gate;
  readonly socket: Socket;
  readonly upstream: Socket;
  damaged: boolean;
}

interface LineState {
  to: number | undefined;
  refuses: boolean;
  pace: Pace;
}

export class FaultLine implements AsyncDisposable {
  readonly #server: RunningRawServer;
  readonly #connections: Set<Proxied>;
  readonly #state: LineState;
  readonly #random: (bound: number) => number;

  private constructor(
    server: RunningRawServer,
    connections: Set<Proxied>,
    state: LineState,
    random: (bound: number) => number,
  ) {
    this.#server = server;
    this.#connections = connections;
    this.#state = state;
    this.#random = random;
  }

  static async start(random: (bound: number) => number): Promise<FaultLine> {
    const connections = new Set<Proxied>();
    const state: LineState = { to: undefined, refuses: false, pace: unhurried };
    const accept = async (socket: Socket) => {
      socket.pause();
      const { startMs } = state.pace;
      if (startMs > 0) await delay(random(startMs));
      if (state.refuses || state.to === undefined || socket.destroyed) return void socket.destroy();
      const upstream = connect(state.to, "127.0.0.1");
      const proxied: Proxied = { gate: new Gate(), socket, upstream, damaged: false };
      const { gate } = proxied;
      connections.add(proxied);
      socket.pipe(damage(proxied)).pipe(gate.stream()).pipe(slow(state)).pipe(upstream);
      upstream.pipe(gate.stream()).pipe(slow(state)).pipe(socket);
      upstream.on("error", () => gate.pass(() => socket.destroy()));
      upstream.on("close", () => gate.pass(() => socket.end()));
      socket.on("close", () => {
        connections.delete(proxied);
        gate.pass(() => upstream.destroy());
      });
    };
    const server = await startRawServer((socket) => void accept(socket));
    return new FaultLine(server, connections, state, random);
  }

  get port(): number {
    return this.#server.port;
  }

  /** Leads new connections there; undefined: nowhere. */
  leadTo(port: number | undefined): void {
    this.#state.to = port;
  }

  cut(): void {
    for (const { socket, upstream } of this.#connections) {
      socket.destroy();
      upstream.destroy();
    }
    this.#connections.clear();
  }

  /** Only the server's end goes; the other one hears of it later, if at all. */
  dropServerEnd(): void {
    for (const { upstream } of this.#connections) upstream.destroy();
  }

  refuse(refuses: boolean): void {
    this.#state.refuses = refuses;
  }

  silence(): void {
    for (const { gate } of this.#connections) gate.shut();
  }

  resume(): void {
    for (const { gate } of this.#connections) gate.open();
  }

  /** The next thing that each connection sends has a magic that no server knows. */
  damage(): void {
    for (const proxied of this.#connections) if (this.#random(3) > 0) proxied.damaged = true;
  }

  slow(pace: Partial<Pace>): void {
    this.#state.pace = { ...unhurried, ...pace };
  }

  /** As if nothing had been; connections that were damaged or lost have to be made anew by their owners. */
  heal(): void {
    this.refuse(false);
    this.slow({});
    this.resume();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.heal();
    this.cut();
    await this.#server[Symbol.asyncDispose]();
  }
}

function damage(proxied: Proxied): Transform {
  return new Transform({
    transform(chunk: Buffer, _, done) {
      const isPacket = chunk.length >= 12 && chunk[0] === 0;
      if (!proxied.damaged || !isPacket) return done(null, chunk);
      proxied.damaged = false;
      // A changed payload would be another message, which no checksum of Gearman's could show.
      const bytes = Buffer.from(chunk);
      bytes[2] = 0x58;
      done(null, bytes);
    },
  });
}

function slow(state: { readonly pace: Pace }): Transform {
  return new Transform({
    transform(chunk: Buffer, _, done) {
      const { latencyMs, rate } = state.pace;
      const ms = latencyMs + (rate > 0 ? Math.min(500, (1000 * chunk.length) / rate) : 0);
      if (ms === 0) return done(null, chunk);
      setTimeout(() => done(null, chunk), ms);
    },
  });
}
