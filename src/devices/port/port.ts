/** A device's port and its one owner: read for as long as it is there, for any number of viewers, and written to by one. */
import { EventEmitter } from "node:events";
import type { PortConfig } from "#/config/model.ts";
import type { SystemCalls } from "#/host/syscalls.ts";
import { Condition } from "#/lib/condition.ts";
import type { Discovery } from "../discovery/discovery.ts";
import { DeviceError } from "../errors.ts";
import { PortConnection, type PortState } from "./connection.ts";
import type { Line, LineErrors } from "./line.ts";
import { type Chunk, Ring } from "./ring.ts";
import { sourceOf } from "./source.ts";

import { type Loan, type PortWriter, Writer } from "./writer.ts";

export type { PortState } from "./connection.ts";
export type { Chunk } from "./ring.ts";
export type { Loan, PortWriter } from "./writer.ts";

export interface PortOptions {
  /** The device's name, for those who ask who has the port. */
  readonly name: string;
  readonly config: PortConfig;
  readonly discovery: Discovery;
  /** For locks and counters that only the system's own calls give. */
  readonly calls: SystemCalls | undefined;
  /** Bytes that are kept for viewers. */
  readonly ringSize?: number;
}

/** Stands for a secret in what viewers and captures see. */
const masked = "[masked]\n";

interface PortEvents {
  state: [PortState];
  /** Bytes that came. */
  data: [Chunk];
  /** Bytes on their way to the board; the offset counts those. */
  sent: [Chunk];
}

export class Port extends EventEmitter<PortEvents> implements AsyncDisposable {
  readonly name: string;
  readonly ring: Ring;
  readonly counters = new Counters();
  readonly #connection: PortConnection;
  /** Bytes, and changes of state. */
  readonly #changes = new Condition();
  #writer: Writer | undefined;

  /** Begins to look for the port at once. */
  constructor({ name, config, discovery, calls, ringSize }: PortOptions) {
    super();
    this.name = name;
    this.ring = new Ring(ringSize);
    this.#connection = new PortConnection({
      name,
      source: sourceOf(config, discovery, calls),
      receive: (bytes) => this.#receive(bytes),
      changed: () => {
        this.emit("state", this.state);
        this.#changes.wake();
      },
      opened: (line) => this.counters.opened(line),
      closing: () => this.counters.closing(),
      lost: (error) => {
        this.counters.disconnected();
        this.#writer?.lose(error);
      },
    });
  }

  get state(): PortState {
    return this.#connection.state;
  }

  /** The device file, as /dev/ttyUSB0, or address at this moment; also while it is lent. */
  get path(): string | undefined {
    return "path" in this.state ? this.state.path : undefined;
  }

  /** Who may write at this moment. */
  get holder(): string | undefined {
    return this.#writer?.who;
  }

  /**
   * Yields what came, from the ring first and then live, until the signal or the port's closing. It reads the ring at its own
   * pace: one who is too slow misses the oldest bytes, and sees by the offsets how many; nobody else waits.
   *
   * @param from the offset to begin at; undefined: the oldest that is kept
   */
  async *follow(from: number | undefined, signal: AbortSignal): AsyncGenerator<Chunk, void, void> {
    using news = this.#changes.listen(signal);
    let next = Math.min(from ?? this.ring.start, this.ring.end);
    while (!signal.aborted) {
      const chunk = this.ring.read(next);
      if (chunk) {
        next = chunk.offset + chunk.bytes.length;
        yield chunk;
      } else if (this.state.kind === "closed") return;
      else await news.next();
    }
  }

  /** Resolves true when the port is open; false when it isn't after so many milliseconds, at the signal, or when it is closed. */
  async whenOpen(timeout: number, signal?: AbortSignal): Promise<boolean> {
    const late = AbortSignal.timeout(timeout);
    const end = signal ? AbortSignal.any([signal, late]) : late;
    using news = this.#changes.listen(end);
    while (this.state.kind !== "open" && this.state.kind !== "closed" && !end.aborted) await news.next();
    return this.state.kind === "open";
  }

  /**
   * Takes the right to write.
   * @param who for the message to others: the build, or the person
   * @throws DeviceError PORT_BUSY naming the holder; PORT_ABSENT, or the reason of a refusal, when the port isn't open
   */
  acquire(who: string): PortWriter {
    if (this.#writer) throw new DeviceError("PORT_BUSY", `${this.name} is in use by ${this.#writer.who}`);
    if (this.state.kind === "refused") throw this.state.error;
    if (this.state.kind !== "open") throw this.#connection.notThere();
    const writer = new Writer({
      who,
      line: () => {
        const { line } = this.#connection;
        if (line) return line;
        throw new DeviceError("PORT_LOST", `${this.name}'s port is lent to another program`);
      },
      sent: (bytes, secret) => this.#sent(bytes, secret),
      lend: () => this.#lend(),
      release: () => {
        if (this.#writer === writer) this.#writer = undefined;
      },
    });
    this.#writer = writer;
    return writer;
  }

  /** Lends the port, with the right to write to it. @throws DeviceError as acquire() does */
  async lend(who = "another program"): Promise<Loan> {
    const writer = this.acquire(who);
    try {
      const loan = await writer.lend();
      return {
        path: loan.path,
        async [Symbol.asyncDispose]() {
          await loan[Symbol.asyncDispose]();
          writer[Symbol.dispose]();
        },
      };
    } catch (error) {
      writer[Symbol.dispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#writer?.lose(new DeviceError("PORT_LOST", `${this.name}'s port is closed`));
    await this.#connection[Symbol.asyncDispose]();
  }

  async #lend(): Promise<Loan> {
    const { url } = await this.#connection.lend();
    let back: Promise<void> | undefined;
    return {
      path: url,
      [Symbol.asyncDispose]: () => {
        back ??= this.#connection.takeBack((timeout) => this.whenOpen(timeout));
        return back;
      },
    };
  }

  #receive(bytes: Uint8Array): void {
    const at = Date.now();
    const offset = this.ring.end;
    this.ring.append(bytes, at);
    this.counters.received += bytes.length;
    if (this.listenerCount("data") > 0) this.emit("data", { offset, at, bytes: Buffer.from(bytes) });
    this.#changes.wake();
  }

  #sent(bytes: Uint8Array, secret: boolean): void {
    const offset = this.counters.sent;
    this.counters.sent += bytes.length;
    if (this.listenerCount("sent") > 0)
      this.emit("sent", { offset, at: Date.now(), bytes: Buffer.from(secret ? masked : bytes) });
  }
}

/** What went through a port since the agent began, over all its lines. */
class Counters {
  /** Bytes. */
  received = 0;
  sent = 0;
  #disconnects = 0;
  #line: Line | undefined;
  #before: LineErrors = { broken: 0, overrun: 0 };

  /** Characters that came broken, as with another speed. */
  get errors(): number {
    return this.#now().broken;
  }

  /** Characters that came and couldn't be kept. */
  get lost(): number {
    return this.#now().overrun;
  }

  /** How often the port went away, or characters were lost. */
  get losses(): number {
    return this.#disconnects + this.lost;
  }

  disconnected(): void {
    this.#disconnects += 1;
  }

  opened(line: Line): void {
    this.#line = line;
  }

  /** Called before the line is closed: it can't be asked afterwards. */
  closing(): void {
    this.#before = this.#now();
    this.#line = undefined;
  }

  #now(): LineErrors {
    const now = this.#line?.errors();
    return {
      broken: this.#before.broken + (now?.broken ?? 0),
      overrun: this.#before.overrun + (now?.overrun ?? 0),
    };
  }
}
