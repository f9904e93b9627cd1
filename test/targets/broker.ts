/** The line between a target and its adapter: joins the socket of the one to that of the other, and spoils what passes. */
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { bounded } from "../support/servers.ts";
import { Lane, type LineFaults } from "./lane.ts";

export type { LineFaults } from "./lane.ts";

/** How much a socket's stream may hold, in bytes: what waits there is not on the line yet, nor can it be taken back. */
const buffered = 1024;

/**
 * QEMU connects to `back` and socat, which makes the device node, to `front`; either may come and go. Without an
 * adapter the target's bytes are lost, as they are on a desk.
 */
export class Broker implements AsyncDisposable {
  readonly front: string;
  readonly back: string;
  readonly toHost = new Lane();
  readonly toTarget = new Lane();
  readonly #servers: Server[] = [];
  #adapter: Duplex | undefined;
  #target: Duplex | undefined;
  #adapterCame = Promise.withResolvers<void>();
  #targetCame = Promise.withResolvers<void>();

  private constructor(folder: string) {
    this.front = join(folder, "front");
    this.back = join(folder, "back");
    this.toHost.onFull = (isFull) => (isFull ? this.#target?.pause() : this.#target?.resume());
    this.toTarget.onFull = (isFull) => (isFull ? this.#adapter?.pause() : this.#adapter?.resume());
    this.toHost.onBytes = (bytes) => this.#adapter?.write(bytes) ?? true;
    this.toTarget.onBytes = (bytes) => this.#target?.write(bytes) ?? true;
  }

  /** @param folder where its two sockets are made */
  static async listen(folder: string): Promise<Broker> {
    const broker = new Broker(folder);
    await broker.#serve(broker.front, (socket) => broker.#attachAdapter(socket));
    await broker.#serve(broker.back, (socket) => broker.attachTarget(socket));
    return broker;
  }

  /** Resolves when an adapter is there, with a bound. */
  async adapter(): Promise<void> {
    await bounded(this.#adapterCame.promise);
  }

  /** Resolves when a target is there, with a bound. */
  async target(): Promise<void> {
    await bounded(this.#targetCame.promise);
  }

  /** Resolves when no target is there, with a bound. */
  async targetLeft(): Promise<void> {
    const target = this.#target;
    if (target && !target.closed) await bounded(once(target, "close"));
  }

  /** Both directions at a speed, in bytes a second: 11,520 are 115,200 baud. */
  throttle(bytesPerSecond: number): void {
    this.toHost.bytesPerSecond = bytesPerSecond;
    this.toTarget.bytesPerSecond = bytesPerSecond;
  }

  /** Mishaps in both directions; none: a clean line again. */
  setFaults(faults: Partial<LineFaults> = {}, seed = 1): void {
    this.toHost.setFaults(faults, seed);
    this.toTarget.setFaults(faults, seed + 1);
  }

  /** Nothing passes and nothing is lost until it is called with false. */
  stall(isStalled: boolean): void {
    this.toHost.stall(isStalled);
    this.toTarget.stall(isStalled);
  }

  /** The wires are off the board: what either side says is lost, until `restore()`. */
  cut(): void {
    this.toHost.cut(true);
    this.toTarget.cut(true);
  }

  restore(): void {
    this.toHost.cut(false);
    this.toTarget.cut(false);
  }

  /** The host reads these bytes as though the target had sent them now. */
  inject(bytes: Buffer | string): void {
    this.toHost.push(Buffer.from(bytes));
  }

  /** Makes a stream the target; one that was there is left. */
  attachTarget(target: Duplex): void {
    this.#target?.destroy();
    this.#target = target;
    this.toTarget.clear();
    target.on("data", (bytes: Buffer) => {
      // Without an adapter nothing may pile up that a later one would read.
      if (this.#adapter) this.toHost.push(bytes);
    });
    target.on("drain", () => this.toTarget.go());
    target.on("error", () => {});
    target.on("close", () => {
      if (this.#target !== target) return;
      this.#target = undefined;
      this.#targetCame = Promise.withResolvers();
      this.toTarget.go();
    });
    this.toTarget.go();
    this.#targetCame.resolve();
  }

  #attachAdapter(adapter: Duplex): void {
    this.#adapter?.destroy();
    this.#adapter = adapter;
    this.toHost.clear();
    adapter.on("data", (bytes: Buffer) => this.toTarget.push(bytes));
    adapter.on("drain", () => this.toHost.go());
    adapter.on("error", () => {});
    adapter.on("close", () => {
      if (this.#adapter !== adapter) return;
      this.#adapter = undefined;
      this.#adapterCame = Promise.withResolvers();
      this.toHost.clear();
      this.toHost.go();
    });
    this.toHost.go();
    this.#adapterCame.resolve();
  }

  async #serve(path: string, onConnection: (socket: Duplex) => void): Promise<void> {
    const server = createServer({ highWaterMark: buffered }, onConnection).listen(path);
    this.#servers.push(server);
    await once(server, "listening");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.toHost.close();
    this.toTarget.close();
    this.#adapter?.destroy();
    this.#target?.destroy();
    await Promise.all(
      this.#servers.map(async (server) => {
        server.close();
        await once(server, "close");
      }),
    );
  }
}
