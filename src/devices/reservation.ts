/** A device that is somebody's for a while: a build's, or a person's. */
import type { Console } from "./consoles/console.ts";
import { type Dialogue, type DialogueOptions, runDialogue } from "./consoles/dialogue.ts";
import { BoardFailure } from "./errors.ts";
import type { Port } from "./port/port.ts";
import type { PortWriter } from "./port/writer.ts";
import type { Power } from "./power.ts";

/** How the time on a device went, as far as the device's health is concerned. */
export type Outcome =
  /** The board did what it should, whatever the job thinks of it. */
  | { readonly kind: "well"; readonly passed: boolean }
  /** A person had it, who wants it as it was left. */
  | { readonly kind: "by-hand" }
  /** Broken off in the middle, by nobody's fault: the board may be in any state. */
  | { readonly kind: "doubtful"; readonly reason: string }
  /** The board or its link failed. */
  | { readonly kind: "sick"; readonly reason: string };

export interface ReservationOptions {
  readonly who: string;
  readonly port: Port;
  readonly power: Power;
  readonly console: Console;
  readonly onRelease: (outcome: Outcome) => void;
}

export class Reservation implements Disposable {
  readonly who: string;
  readonly console: Console;
  readonly port: Port;
  /** Where in the port's stream it began: what came before is shown, and never matched. */
  readonly from: number;
  readonly #options: ReservationOptions;
  readonly #writer: PortWriter;
  readonly #lost = new AbortController();
  #line: PortLine;
  #released = false;

  /** @throws DeviceError PORT_BUSY when somebody writes to the port */
  constructor(options: ReservationOptions) {
    this.#options = options;
    this.who = options.who;
    this.console = options.console;
    this.port = options.port;
    this.from = this.port.ring.end;
    this.#writer = this.port.acquire(options.who);
    this.#line = new PortLine(this.port, this.#writer, this.from);
    const { lost } = this.#writer;
    lost.addEventListener("abort", () => {
      this.#lost.abort(new BoardFailure("unplugged", (lost.reason as Error).message, { cause: lost.reason }));
    });
  }

  /** Aborted, with a BoardFailure, when the port has gone. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** What the board says, from where the last one who read has stopped. */
  get line(): PortLine {
    return this.#line;
  }

  get writer(): PortWriter {
    return this.#writer;
  }

  /**
   * Runs a dialogue with the board.
   * @throws BoardFailure; DeviceError PORT_LOST; the signal's reason
   */
  run<T>(dialogue: Dialogue<T>, options: DialogueOptions): Promise<T> {
    return runDialogue(dialogue, this.#line, options);
  }

  /** @throws BoardFailure power-failed */
  switchPower(action: "on" | "off" | "cycle", signal: AbortSignal): Promise<void> {
    return this.#options.power.switch(action, signal);
  }

  /** @throws BoardFailure power-failed */
  reset(signal: AbortSignal): Promise<void> {
    return this.#options.power.reset(this.#writer, signal);
  }

  /** Whether the device is restarted after this. */
  get canRestart(): boolean {
    return this.#options.power.canRestart;
  }

  /** Whether startAnew() can be had. */
  get canStartAnew(): boolean {
    return this.#options.power.canStartAnew;
  }

  /** Restarts the board, so that only what its new life says is read. @throws BoardFailure power-failed */
  startAnew(signal: AbortSignal): Promise<void> {
    return this.#options.power.startAnew(this.#writer, signal, () => this.#line.skip());
  }

  /**
   * Hands the port over to another program, until the loan is disposed of; what comes from the moment on in which it is
   * open again is read.
   * @throws BoardFailure unplugged
   */
  async lend(): Promise<AsyncDisposable> {
    this.lost.throwIfAborted();
    return await this.#writer.lend();
  }

  /** Gives the device back; once. */
  release(outcome: Outcome): void {
    if (this.#released) return;
    this.#released = true;
    this.#writer[Symbol.dispose]();
    this.#options.onRelease(outcome);
  }

  [Symbol.dispose](): void {
    this.release({ kind: "doubtful", reason: `${this.who} was broken off` });
  }
}

/** A port as dialogues use it: what the board says from some moment on, and the right to answer. */
export class PortLine {
  readonly #port: Port;
  readonly #writer: PortWriter;
  #at: number;

  /** @param from the offset in the port's stream of the first byte that is read */
  constructor(port: Port, writer: PortWriter, from: number) {
    this.#port = port;
    this.#writer = writer;
    this.#at = from;
  }

  /**
   * The next bytes, as soon as there are any; bytes that came while nobody read are there as far back as the ring goes.
   * @param timeout milliseconds
   * @returns nothing when the time has passed in silence
   * @throws DeviceError PORT_LOST; the signal's reason
   */
  async read(timeout: number, signal: AbortSignal): Promise<Uint8Array> {
    signal.throwIfAborted();
    // What the ring has is read to its end, also when the port is gone by now.
    return this.#take() ?? (await this.#wait(timeout, signal));
  }

  /** @throws DeviceError */
  write(bytes: Uint8Array, _signal: AbortSignal, secret?: boolean): Promise<void> {
    return this.#writer.write(bytes, secret);
  }

  /** Lets go of what came until now. */
  skip(): void {
    this.#at = this.#port.ring.end;
  }

  #take(): Uint8Array | undefined {
    const chunk = this.#port.ring.read(this.#at);
    if (!chunk) return undefined;
    this.#at = chunk.offset + chunk.bytes.length;
    return chunk.bytes;
  }

  #wait(timeout: number, signal: AbortSignal): Promise<Uint8Array> {
    const { lost } = this.#writer;
    return new Promise((resolve, reject) => {
      const stop = (settle: () => void) => {
        clearTimeout(timer);
        this.#port.off("data", onData);
        signal.removeEventListener("abort", onAbort);
        lost.removeEventListener("abort", onLost);
        settle();
      };
      const onData = () => stop(() => resolve(this.#take() ?? new Uint8Array()));
      const onAbort = () => stop(() => reject(signal.reason));
      const onLost = () => stop(() => reject(lost.reason));
      // A timer takes 2^31-1 ms at most, and Infinity would fire at once.
      const timer = setTimeout(() => stop(() => resolve(new Uint8Array())), Math.min(timeout, 0x7fffffff));
      if (lost.aborted) return onLost();
      this.#port.on("data", onData);
      signal.addEventListener("abort", onAbort);
      lost.addEventListener("abort", onLost);
    });
  }
}
