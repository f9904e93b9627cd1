/** A device's port and its one owner: found, opened, read for as long as it is there, and found again when it went. */
import { EventEmitter } from "node:events";
import type { PortConfig } from "#/config/model.ts";
import type { SystemCalls } from "#/host/syscalls.ts";
import type { Discovery } from "../discovery/discovery.ts";
import { DeviceError } from "../errors.ts";
import { claimPort } from "./claim.ts";
import { Counters } from "./counters.ts";
import type { Line } from "./line.ts";
import { News } from "./news.ts";
import { type Chunk, Ring } from "./ring.ts";
import { type Place, type Source, sourceOf } from "./source.ts";
import type { PortState } from "./state.ts";
import { type Loan, type PortWriter, Writer } from "./writer.ts";

export type { Chunk } from "./ring.ts";
export type { PortState } from "./state.ts";
export type { Loan, PortWriter } from "./writer.ts";

/** Milliseconds between tries when nothing changes: doubling from the first to the last. */
const firstRetry = 250;
const lastRetry = 15_000;
/** A line that stood for so long shows that the port works, in milliseconds. */
const steady = 5000;
/** How long a port that was lent may take to come back: boards with USB of their own go away as they are reset. */
const backTimeout = 5000;

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
  readonly #source: Source;
  readonly #watch: Disposable;
  readonly #ending = new AbortController();
  #state: PortState = { kind: "absent", reason: "it wasn't looked for yet" };
  #line: Line | undefined;
  #place: Place | undefined;
  #claim: { readonly key: string; readonly lock: Disposable } | undefined;
  #writer: Writer | undefined;
  /** Tries in a row that didn't give a line that stood. */
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;
  /** The looking that is under way, and whether something changed meanwhile. */
  #settling: Promise<void> | undefined;
  #changed = false;
  /** Bytes, and changes of state. */
  readonly #news = new News();

  /** Begins to look for the port at once. */
  constructor({ name, config, discovery, calls, ringSize }: PortOptions) {
    super();
    this.name = name;
    this.ring = new Ring(ringSize);
    this.#source = sourceOf(config, discovery, calls);
    this.#watch = this.#source.watch(() => this.#wake());
    this.#wake();
  }

  get state(): PortState {
    return this.#state;
  }

  /** The device file, as /dev/ttyUSB0, or address at this moment; also while it is lent. */
  get path(): string | undefined {
    return "path" in this.#state ? this.#state.path : undefined;
  }

  /** Who may write at this moment. */
  get holder(): string | undefined {
    return this.#writer?.who;
  }

  /**
   * Yields what came, from the ring first and then live, until the signal or the port's closing. It reads the ring at its own pace: one who is
   * too slow misses the oldest bytes, and sees by the offsets how many; nobody else waits.
   *
   * @param from the offset to begin at; undefined: the oldest that is kept
   */
  async *follow(from: number | undefined, signal: AbortSignal): AsyncGenerator<Chunk, void, void> {
    using news = this.#news.listen(signal);
    let next = Math.min(from ?? this.ring.start, this.ring.end);
    while (!signal.aborted) {
      const chunk = this.ring.read(next);
      if (chunk) {
        next = chunk.offset + chunk.bytes.length;
        yield chunk;
      } else if (this.#state.kind === "closed") return;
      else await news.next();
    }
  }

  /** Resolves true when the port is open, false when it isn't after so many milliseconds or by the signal. */
  async whenOpen(timeout: number, signal?: AbortSignal): Promise<boolean> {
    const late = AbortSignal.timeout(timeout);
    const end = signal ? AbortSignal.any([signal, late]) : late;
    using news = this.#news.listen(end);
    while (this.#state.kind !== "open" && this.#state.kind !== "closed" && !end.aborted) await news.next();
    return this.#state.kind === "open";
  }

  /**
   * Takes the right to write.
   * @param who for the message to others: the build, or the person
   * @throws DeviceError PORT_BUSY naming the holder; PORT_ABSENT, or the reason of a refusal, when the port isn't open
   */
  acquire(who: string): PortWriter {
    if (this.#writer) throw new DeviceError("PORT_BUSY", `${this.name} is in use by ${this.#writer.who}`);
    if (this.#state.kind === "refused") throw this.#state.error;
    if (this.#state.kind !== "open") throw this.#notThere();
    const writer = new Writer({
      who,
      line: () => {
        if (!this.#line) throw new DeviceError("PORT_LOST", `${this.name}'s port is lent to another program`);
        return this.#line;
      },
      sent: (bytes) => {
        const offset = this.counters.sent;
        this.counters.sent += bytes.length;
        this.emit("sent", { offset, at: Date.now(), bytes });
      },
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
    if (this.#state.kind === "closed") return;
    this.#set({ kind: "closed" });
    this.#ending.abort();
    this.#watch[Symbol.dispose]();
    clearTimeout(this.#retry);
    this.#writer?.lose(new DeviceError("PORT_LOST", `${this.name}'s port is closed`));
    await this.#settling;
    await this.#drop();
    this.#unclaim();
  }

  /** Looks for the port; when that is being done, once more afterwards. */
  #wake(): void {
    this.#changed = true;
    this.#settling ??= this.#settle().finally(() => {
      this.#settling = undefined;
    });
  }

  async #settle(): Promise<void> {
    // What woke this one up goes on first.
    await Promise.resolve();
    while (this.#changed && (this.#isLooking || this.#state.kind === "open")) {
      this.#changed = false;
      try {
        const place = await this.#source.find();
        if (this.#state.kind === "open") this.#leaveIfElsewhere(place);
        else if (place) await this.#open(place);
        else this.#fail({ kind: "absent", reason: this.#source.absence });
      } catch (cause) {
        const reason = (cause as Error).message;
        const error =
          cause instanceof DeviceError ? cause : new DeviceError("PORT_REFUSED", reason, { cause });
        this.#fail(
          error.code === "PORT_ABSENT" ? { kind: "absent", reason } : { kind: "refused", reason, error },
        );
        this.#again();
      }
    }
  }

  /** There is no line, and there should be one. */
  get #isLooking(): boolean {
    const { kind } = this.#state;
    if (this.#state.kind === "lent") return this.#state.returned;
    return kind === "absent" || kind === "opening" || kind === "refused";
  }

  /** A port that was given back may take a moment to be there again. */
  #fail(state: PortState): void {
    if (!this.#isLooking || this.#state.kind === "lent") return;
    this.#unclaim();
    this.#set(state);
  }

  async #open(place: Place): Promise<void> {
    if (!this.#isLooking) return;
    if (this.#state.kind === "absent" && this.#failures === 0)
      this.#set({ kind: "opening", path: place.path });
    if (this.#claim?.key !== place.key) {
      this.#unclaim();
      const lock = await claimPort(place.key, place.path, `labgear (pid ${process.pid}) for ${this.name}`);
      this.#claim = { key: place.key, lock };
    }
    const line = await this.#source.open(place, (bytes) => this.#receive(bytes), this.#ending.signal);
    if (this.#ending.signal.aborted) return line[Symbol.asyncDispose]();
    this.#line = line;
    this.#place = place;
    this.counters.opened(line);
    const since = performance.now();
    void line.closed.then((error) => {
      if (this.#line !== line || !error) return;
      if (performance.now() - since > steady) this.#failures = 0;
      this.#lost(error);
    });
    this.#set({ kind: "open", path: place.path });
  }

  /** The path or serial number leads to another device file now: what is open is no longer the configured port. */
  #leaveIfElsewhere(place: Place | undefined): void {
    if (!place || place.key === this.#place?.key) return;
    this.#lost(new DeviceError("PORT_LOST", `${this.name}'s port is ${place.path} now`));
  }

  /** The line is gone, and the port perhaps as well. */
  #lost(error: DeviceError): void {
    this.counters.losses += 1;
    this.#writer?.lose(error);
    const dropping = this.#drop();
    this.#unclaim();
    this.#set({ kind: "absent", reason: error.message });
    // At once, unless it keeps going away: then after a while.
    if (this.#failures === 0) void dropping.then(() => this.#wake());
    this.#again();
  }

  /** Tries again in a while, or earlier when something changes. */
  #again(): void {
    const wait = Math.min(lastRetry, firstRetry * 2 ** this.#failures);
    this.#failures += 1;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#wake(), wait * (0.75 + Math.random() / 2)).unref();
  }

  async #drop(): Promise<void> {
    const line = this.#line;
    this.#line = undefined;
    this.counters.closed();
    await line?.[Symbol.asyncDispose]();
  }

  async #lend(): Promise<Loan> {
    if (this.#state.kind !== "open") throw this.#notThere();
    const { path } = this.#state;
    this.#set({ kind: "lent", path, returned: false });
    await this.#drop();
    let back: Promise<void> | undefined;
    return {
      path,
      [Symbol.asyncDispose]: () => {
        back ??= this.#takeBack(path);
        return back;
      },
    };
  }

  async #takeBack(path: string): Promise<void> {
    if (this.#state.kind !== "lent") return;
    this.#failures = 0;
    this.#set({ kind: "lent", path, returned: true });
    this.#wake();
    if (await this.whenOpen(backTimeout, this.#ending.signal)) return;
    // Its claim goes too: whatever is at that device file later may be another's.
    this.#unclaim();
    const error = new DeviceError("PORT_LOST", `${this.name}'s port didn't come back after it was lent`);
    this.#writer?.lose(error);
    this.#set({ kind: "absent", reason: error.message });
    this.#wake();
  }

  #receive(bytes: Uint8Array): void {
    const at = Date.now();
    const offset = this.ring.end;
    this.ring.append(bytes, at);
    this.counters.received += bytes.length;
    if (this.listenerCount("data") > 0) this.emit("data", { offset, at, bytes: Buffer.from(bytes) });
    this.#news.tell();
  }

  #set(state: PortState): void {
    if (this.#state.kind === "closed") return;
    const isSame =
      state.kind === this.#state.kind &&
      "reason" in state &&
      "reason" in this.#state &&
      state.reason === this.#state.reason;
    this.#state = state;
    if (!isSame) this.emit("state", state);
    this.#news.tell();
  }

  #unclaim(): void {
    this.#claim?.lock[Symbol.dispose]();
    this.#claim = undefined;
  }

  #notThere(): DeviceError {
    const why = "reason" in this.#state ? `: ${this.#state.reason}` : "";
    return new DeviceError("PORT_ABSENT", `${this.name}'s port is ${this.#state.kind}${why}`);
  }
}
