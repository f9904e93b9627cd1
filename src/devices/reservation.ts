/** A device reserved for a build or a person: one holder reads its output and may write. */
import { setImmediate as turn } from "node:timers/promises";
import { aborted } from "node:util";
import type { FlashStep } from "#/config/model.ts";
import type { Console } from "./consoles/console.ts";
import { type Dialogue, type DialogueOptions, runDialogue } from "./consoles/dialogue.ts";
import { BoardFailure } from "./errors.ts";
import { returnTimeoutMs } from "./port/connection.ts";
import type { Port } from "./port/port.ts";
import type { PortWriter } from "./port/writer.ts";
import type { OnDown, Power } from "./power.ts";

/** How a reservation ended, as far as the device's health is concerned. */
export type Outcome =
  /** The board worked, whether the job passed or not. */
  | { readonly kind: "well"; readonly passed: boolean }
  /** A person had it, and wants it left as it is. */
  | { readonly kind: "by-hand" }
  /** It was interrupted: the board may be in any state, and isn't at fault. */
  | {
      readonly kind: "doubtful";
      readonly reason: string;
      readonly isBooting?: boolean;
      /** Resolves when nothing of the reservation writes to the board any more; absent: nothing does. */
      readonly interrupted?: Promise<void>;
    }
  /** The board or its link failed. */
  | { readonly kind: "sick"; readonly reason: string };

/** How long a board may take to come back to its prompt after a stop. */
const interruptTimeoutMs = 2000;

export interface ReservationOptions {
  readonly who: string;
  readonly port: Port;
  readonly power: Power;
  /** From power or reset to the prompt: how long the port may be gone. */
  readonly bootTimeoutMs: number;
  readonly console: Console;
  /** The offset from which earlier output shows where the board stands. */
  readonly recentFrom: number;
  readonly onRelease: (outcome: Outcome) => void;
}

export class Reservation implements Disposable {
  readonly who: string;
  readonly console: Console;
  readonly port: Port;
  /** Its first offset in the port's stream. Earlier output is shown, and never matched. */
  readonly from: number;
  readonly #options: ReservationOptions;
  readonly #writer: PortWriter;
  readonly #lost = new AbortController();
  #line: PortLine;
  /** From power off to power on: some boards supply their own adapter. */
  #whileOff: AsyncDisposable | undefined;
  #loan: AsyncDisposable | undefined;
  #released = false;
  /** The offset from which earlier output shows where the board stands; undefined once it may stand elsewhere. */
  #recentFrom: number | undefined;

  /** @throws DeviceError PORT_BUSY if a person writes to the port */
  constructor(options: ReservationOptions) {
    this.#options = options;
    this.who = options.who;
    this.console = options.console;
    this.port = options.port;
    this.from = this.port.ring.end;
    this.#recentFrom = options.recentFrom;
    this.#writer = this.port.acquire(options.who);
    this.#line = new PortLine(this.port, this.#writer, this.from);
    const { lost } = this.#writer;
    lost.addEventListener("abort", () => {
      this.#lost.abort(new BoardFailure("unplugged", (lost.reason as Error).message, { cause: lost.reason }));
    });
  }

  /** Aborts with a BoardFailure when the port is gone. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** The board's output that nothing has read yet, and the way to answer. */
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
  switchPower(action: "on" | "off" | "cycle", signal: AbortSignal, onDown: OnDown): Promise<void> {
    const { power, bootTimeoutMs } = this.#options;
    const work = () => power.switch(action, signal, onDown);
    this.#recentFrom = undefined;
    if (action === "off") {
      this.#whileOff ??= this.port.allowAbsence(0);
      return work();
    }
    return this.allowAbsence(work, signal, bootTimeoutMs);
  }

  /** @throws BoardFailure power-failed */
  reset(signal: AbortSignal, onDown: OnDown): Promise<void> {
    const { power, bootTimeoutMs } = this.#options;
    return this.allowAbsence(() => power.reset(this.#writer, signal, onDown), signal, bootTimeoutMs);
  }

  /**
   * Gets to the console's prompt. What the board printed just before the reservation shows where it stands, and counts for nothing else.
   * @param isRestarted whether the board was just restarted, and hasn't been heard since
   * @throws BoardFailure; DeviceError PORT_LOST; the signal's reason
   */
  enter(timeoutMs: number, isRestarted: boolean, options: DialogueOptions): Promise<void> {
    const from = this.#recentFrom;
    if (from !== undefined && !isRestarted && this.#line.at === this.from)
      this.#line = new PortLine(this.port, this.#writer, from);
    return this.run(this.console.enter(timeoutMs, isRestarted), options);
  }

  /** Whether startAnew() is possible. */
  get canStartAnew(): boolean {
    return this.#options.power.canStartAnew;
  }

  /**
   * Restarts the board, and skips all output from before.
   * @throws BoardFailure power-failed, also if the board goes on printing while it should be down
   */
  startAnew(signal: AbortSignal): Promise<void> {
    const { power, bootTimeoutMs } = this.#options;
    const onDown = async (stays: boolean) => {
      if (!stays) return this.#line.skip();
      if (await this.#line.skipUntilSilent(signal)) return;
      const message = "the board went on printing while it was switched off or held in reset";
      throw new BoardFailure("power-failed", `${message}: check that power and reset are this board's`);
    };
    return this.allowAbsence(() => power.startAnew(this.#writer, signal, onDown), signal, bootTimeoutMs);
  }

  /** Flashes a known image, and skips all output from before. @throws BoardFailure flash-failed, unplugged */
  async flash(
    step: FlashStep,
    variables: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<void> {
    const { power } = this.#options;
    this.#line.skip();
    await this.allowAbsence(async () => {
      await using _ = step.lend ? await this.lend(signal) : undefined;
      await power.flash(step, variables, signal);
    }, signal);
  }

  /**
   * Does work that may take the port away for a while, as flashing does.
   * @param timeoutMs for the port to come back afterwards
   * @throws BoardFailure unplugged if it doesn't
   */
  async allowAbsence<T>(
    work: () => Promise<T>,
    signal: AbortSignal,
    timeoutMs = returnTimeoutMs,
  ): Promise<T> {
    const result = await this.#doAllowed(work, signal, timeoutMs);
    this.lost.throwIfAborted();
    return result;
  }

  async #doAllowed<T>(work: () => Promise<T>, signal: AbortSignal, timeoutMs: number): Promise<T> {
    this.#recentFrom = undefined;
    await using _ = this.port.allowAbsence(timeoutMs, signal);
    const result = await work();
    await this.#endOff();
    return result;
  }

  async #endOff(): Promise<void> {
    const off = this.#whileOff;
    this.#whileOff = undefined;
    await off?.[Symbol.asyncDispose]();
  }

  /**
   * Lends the port to another program until the loan is disposed of, which waits until the port is open again.
   * @param signal ends that wait
   * @throws BoardFailure unplugged
   */
  async lend(signal: AbortSignal): Promise<AsyncDisposable> {
    this.lost.throwIfAborted();
    this.#recentFrom = undefined;
    const loan = await this.#writer.lend();
    this.#loan = loan;
    return {
      async [Symbol.asyncDispose]() {
        await Promise.race([loan[Symbol.asyncDispose](), aborted(signal, loan)]);
      },
    };
  }

  /** Only the first call counts. */
  release(outcome: Outcome): void {
    if (this.#released) return;
    this.#released = true;
    void this.#endOff();
    this.#writer[Symbol.dispose]();
    this.#options.onRelease(outcome);
  }

  /** Releases it at once; what runs on the board is interrupted while the device recovers. */
  abandon(): void {
    if (this.#released) return;
    this.#released = true;
    const interrupted = this.#interrupt().finally(() => {
      void this.#endOff();
      this.#writer[Symbol.dispose]();
    });
    this.#options.onRelease({ kind: "doubtful", reason: `${this.who} was interrupted`, interrupted });
  }

  async #interrupt(): Promise<void> {
    await this.#loan?.[Symbol.asyncDispose]();
    // A restart ends what runs, too.
    if (this.#options.power.canRestart || this.lost.aborted) return;
    const signal = AbortSignal.any([AbortSignal.timeout(interruptTimeoutMs + 500), this.lost]);
    await this.run(this.console.interrupt(interruptTimeoutMs), { signal }).catch(() => false);
  }

  [Symbol.dispose](): void {
    this.release({ kind: "doubtful", reason: `${this.who} was interrupted` });
  }
}

/** A board that is down is silent for this long. */
const silenceMs = 100;
/** How long bytes may still come after a board went down. */
const maxUnderWayMs = 2000;
/** Enough to tell text from other bytes. */
const minTextLength = 64;

/** A port as dialogues use it: its output from an offset on, and the right to answer. */
export class PortLine {
  readonly #port: Port;
  readonly #writer: PortWriter;
  #at: number;

  /** @param from the offset in the port's stream at which reading starts */
  constructor(port: Port, writer: PortWriter, from: number) {
    this.#port = port;
    this.#writer = writer;
    this.#at = from;
  }

  /** The offset of the next byte to read. */
  get at(): number {
    return this.#at;
  }

  /**
   * The next bytes, as soon as there are any. Earlier ones that weren't read yet come first, as far back as the ring goes.
   * @returns no bytes after \`timeoutMs\` of silence
   * @throws DeviceError PORT_LOST; the signal's reason
   */
  async read(timeoutMs: number, signal: AbortSignal): Promise<Uint8Array> {
    signal.throwIfAborted();
    // The ring is read to its end even if the port is gone.
    return this.#take() ?? (await this.#wait(timeoutMs, signal));
  }

  /** @throws DeviceError */
  write(bytes: Uint8Array, _signal: AbortSignal, secret?: boolean): Promise<void> {
    return this.#writer.write(bytes, secret);
  }

  /** Drops all output so far. */
  skip(): void {
    this.#at = this.#port.ring.end;
  }

  /**
   * Drops output until none comes for a moment. What was under way when a board went down, in adapters and networks, still comes.
   * @returns false if the board still prints text; an open wire without power makes other bytes
   */
  async skipUntilSilent(signal: AbortSignal): Promise<boolean> {
    const until = performance.now() + maxUnderWayMs;
    let text = "";
    for (;;) {
      const bytes = await this.read(silenceMs, signal);
      // A busy process may see the time pass before the bytes that came meanwhile.
      if (bytes.length === 0) await turn();
      if (bytes.length === 0 && this.#at === this.#port.ring.end) return true;
      if (performance.now() < until) continue;
      text += Buffer.from(bytes).toString("latin1");
      if (text.length >= minTextLength) return !/[ -~]{8}/.test(text);
    }
  }

  #take(): Uint8Array | undefined {
    const chunk = this.#port.ring.read(this.#at);
    if (!chunk) return undefined;
    this.#at = chunk.offset + chunk.bytes.length;
    return chunk.bytes;
  }

  #wait(timeoutMs: number, signal: AbortSignal): Promise<Uint8Array> {
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
      // A timer takes at most 2^31-1 ms; with Infinity it would fire at once.
      const timer = setTimeout(() => stop(() => resolve(new Uint8Array())), Math.min(timeoutMs, 0x7fffffff));
      if (lost.aborted) return onLost();
      this.#port.on("data", onData);
      signal.addEventListener("abort", onAbort);
      lost.addEventListener("abort", onLost);
    });
  }
}
