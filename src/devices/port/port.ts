/** A device's port, owned by the agent: always read while it is there, for any number of viewers, and written to by one. */
import { EventEmitter } from "node:events";
import type { PortConfig } from "#/config/model.ts";
import type { SystemCalls } from "#/host/syscalls.ts";
import { Condition } from "#/lib/condition.ts";
import { formatDuration } from "#/lib/units.ts";
import type { Discovery } from "../discovery/discovery.ts";
import { DeviceError } from "../errors.ts";
import { PortConnection, type PortState, returnTimeoutMs } from "./connection.ts";
import {
  type Control,
  type Line,
  type LineErrors,
  type LineFormat,
  type ModemState,
  noErrors,
} from "./line.ts";
import { type Chunk, Ring } from "./ring.ts";
import { sourceOf } from "./source.ts";
import { type Loan, type PortWriter, Writer } from "./writer.ts";

export type { PortState } from "./connection.ts";
export type { Chunk } from "./ring.ts";
export type { Loan, PortWriter } from "./writer.ts";

export interface PortOptions {
  /** The device's name, which other programs see as the port's holder. */
  readonly name: string;
  readonly config: PortConfig;
  /** How the control lines are set whenever the port is opened. Default: they are left alone. */
  readonly lines?: Control;
  readonly discovery: Discovery;
  /** For locks and error counters that need ioctl(2). */
  readonly calls: SystemCalls | undefined;
  /** Bytes kept for viewers. */
  readonly ringSize?: number;
}

/** After flashing or a restart, a board may still reset itself for this long. */
const unsettledMs = 5000;

/** Stands for a secret in what viewers and captures see. */
const masked = "[masked]\n";

interface PortEvents {
  state: [PortState];
  /** Received bytes. */
  data: [Chunk];
  /** Bytes on their way to the board. The offset counts sent bytes. */
  sent: [Chunk];
  /** Nobody has the right to write any more. */
  free: [];
}

export class Port extends EventEmitter<PortEvents> implements AsyncDisposable {
  readonly name: string;
  readonly ring: Ring;
  readonly counters = new Counters();
  readonly #connection: PortConnection;
  readonly #config: PortConfig;
  /** Another speed than the configured one, set by a writer. */
  #baud: number | undefined;
  #isFormatChanged = false;
  /** Bytes, and changes of state. */
  readonly #changes = new Condition();
  #writer: Writer | undefined;
  /** How many may take the port away at the moment, and until when it may still go. */
  #absences = 0;
  #unsettledUntil = 0;
  #returning: Promise<void> | undefined;

  /** Starts to look for the port at once. */
  constructor({ name, config, lines = {}, discovery, calls, ringSize }: PortOptions) {
    super();
    this.name = name;
    this.ring = new Ring(ringSize);
    this.#config = config;
    this.#connection = new PortConnection({
      name,
      source: sourceOf(config, discovery, calls),
      lines,
      receive: (bytes) => this.#receive(bytes),
      changed: () => {
        this.emit("state", this.state);
        this.#changes.wake();
      },
      opened: (line) => {
        this.#baud = undefined;
        this.#isFormatChanged = false;
        this.counters.opened(line);
      },
      closing: () => this.counters.closing(),
      lost: (error) => this.#lost(error),
    });
  }

  get state(): PortState {
    return this.#connection.state;
  }

  /** The current device file, such as /dev/ttyUSB0, or address; also while the port is lent. */
  get path(): string | undefined {
    return "path" in this.state ? this.state.path : undefined;
  }

  /** The modem's lines now; undefined if nobody knows. */
  get modem(): ModemState | undefined {
    return this.#connection.line?.modem();
  }

  /** Who may write now. */
  get holder(): string | undefined {
    return this.#writer?.who;
  }

  /**
   * Yields received bytes, first from the ring and then live, until the signal aborts or the port closes. Each viewer reads the
   * ring at its own pace: a slow one misses the oldest bytes, sees by the offsets how many, and delays no other.
   *
   * @param from the offset to start at; undefined: the oldest byte that is kept
   */
  async *follow(from: number | undefined, signal: AbortSignal): AsyncGenerator<Chunk, void, void> {
    using changes = this.#changes.listen(signal);
    let next = Math.min(from ?? this.ring.start, this.ring.end);
    while (!signal.aborted) {
      const chunk = this.ring.read(next);
      if (chunk) {
        next = chunk.offset + chunk.bytes.length;
        yield chunk;
      } else if (this.state.kind === "closed") return;
      else await changes.next();
    }
  }

  /** Resolves true when the port is open; false at the timeout, when the signal aborts, or when the port is closed. */
  async whenOpen(timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    const late = AbortSignal.timeout(timeoutMs);
    const end = signal ? AbortSignal.any([signal, late]) : late;
    using changes = this.#changes.listen(end);
    while (this.state.kind !== "open" && this.state.kind !== "closed" && !end.aborted) await changes.next();
    return this.state.kind === "open";
  }

  /**
   * Takes the right to write.
   * @param who a build or a person; others see it in their message
   * @throws DeviceError PORT_BUSY naming the holder; PORT_ABSENT or PORT_REFUSED if the port isn't open
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
        const why = this.state.kind === "lent" ? "lent to another program" : this.state.kind;
        throw new DeviceError("PORT_LOST", `${this.name}'s port is ${why}`);
      },
      sent: (bytes, secret) => this.#sent(bytes, secret),
      setBaud: (baud) => this.#setBaud(baud),
      setFormat: (format) => this.#setFormat(format),
      lend: () => this.#lend(),
      release: () => {
        if (this.#writer !== writer) return;
        this.#writer = undefined;
        this.emit("free");
      },
    });
    this.#writer = writer;
    return writer;
  }

  /**
   * Until this is disposed of, and for a moment afterwards, the port may go away without a loss for its writer: its board is
   * being flashed or restarted. Disposing waits for its return.
   * @param timeoutMs for the return
   * @param signal ends the wait
   */
  allowAbsence(timeoutMs: number, signal?: AbortSignal): AsyncDisposable {
    this.#absences += 1;
    return {
      [Symbol.asyncDispose]: async () => {
        this.#absences -= 1;
        this.#unsettledUntil = performance.now() + unsettledMs;
        if (this.state.kind !== "open") await this.#awaitReturn(timeoutMs, signal);
      },
    };
  }

  /** Sets the configured speed and format again after a writer has changed them. @throws DeviceError PORT_LOST, PORT_REFUSED */
  async restoreBaud(): Promise<void> {
    const { parity = "none", stopBits = 1 } = this.#config;
    if (this.#isFormatChanged) await this.#setFormat({ bits: 8, parity, stop: stopBits });
    this.#isFormatChanged = false;
    if (this.#baud !== undefined) await this.#setBaud(this.#config.baud);
    this.#baud = undefined;
  }

  /** Set while a port that went away in a flash or restart is expected back; resolves when it is, or its time is up. */
  get returning(): Promise<void> | undefined {
    return this.#returning;
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

  async #setBaud(baud: number): Promise<void> {
    const { line } = this.#connection;
    if (!line) throw this.#connection.notThere();
    // Whether the change failed half-way isn't known.
    this.#baud = baud;
    await line.setBaud(baud);
  }

  async #setFormat(format: LineFormat): Promise<void> {
    const { line } = this.#connection;
    if (!line) throw this.#connection.notThere();
    this.#isFormatChanged = true;
    await line.setFormat(format);
  }

  async #lend(): Promise<Loan> {
    const { url } = await this.#connection.lend();
    let back: Promise<void> | undefined;
    return {
      path: url,
      [Symbol.asyncDispose]: () => {
        this.#unsettledUntil = performance.now() + returnTimeoutMs + unsettledMs;
        back ??= this.#connection.takeBack((timeoutMs) => this.whenOpen(timeoutMs));
        return back;
      },
    };
  }

  #lost(error: DeviceError): void {
    if (this.#absences > 0) return;
    if (this.state.kind !== "lent" && performance.now() < this.#unsettledUntil) {
      this.#returning ??= this.#awaitReturn(returnTimeoutMs);
      return;
    }
    this.counters.disconnected();
    this.#writer?.lose(error);
  }

  async #awaitReturn(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const writer = this.#writer;
    // The connection reports the loss before its state changes.
    await Promise.resolve();
    const isBack = await this.whenOpen(timeoutMs, signal);
    this.#returning = undefined;
    if (isBack || this.#absences > 0 || signal?.aborted) return;
    this.counters.disconnected();
    const message = `${this.name}'s port didn't come back within ${formatDuration(timeoutMs)} after its board was flashed or restarted`;
    writer?.lose(new DeviceError("PORT_LOST", message));
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

/** What went through a port since the agent started, over all its lines. */
class Counters {
  /** Bytes. */
  received = 0;
  sent = 0;
  #disconnects = 0;
  #line: Line | undefined;
  #before = noErrors;

  /** Characters with framing or parity errors, as a wrong speed makes them. */
  get errors(): number {
    const { framing, parity } = this.all;
    return framing + parity;
  }

  /** Characters lost before they could be read. */
  get lost(): number {
    return this.all.overrun;
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

  /** Before the line is closed, because its driver can't be read afterwards. */
  closing(): void {
    this.#before = this.all;
    this.#line = undefined;
  }

  get all(): LineErrors {
    const now = this.#line?.errors() ?? noErrors;
    const { framing, parity, overrun, breaks } = this.#before;
    return {
      framing: framing + now.framing,
      parity: parity + now.parity,
      overrun: overrun + now.overrun,
      breaks: breaks + now.breaks,
    };
  }
}
