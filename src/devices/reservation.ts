/** A device reserved for a build or a person: one holder reads its output and may write. */
import { aborted } from "node:util";
import type { FlashStep } from "#/config/model.ts";
import type { Console } from "./consoles/console.ts";
import { type Dialogue, type DialogueOptions, runDialogue } from "./consoles/dialogue.ts";
import { BoardFailure } from "./errors.ts";
import { returnTimeoutMs } from "./port/connection.ts";
import type { Port } from "./port/port.ts";
import { PortLine } from "./port/port-line.ts";
import type { PortWriter } from "./port/writer.ts";
import type { OnDown, Power } from "./power.ts";

/** How a reservation ended, as far as the device's health is concerned. */
export type Outcome =
  /** The board worked, whether the job passed or not. */
  | { readonly kind: "well"; readonly passed: boolean }
  /** A person had it, and wants it left as it is. */
  | { readonly kind: "by-hand" }
  /** A person or a program had it, and did anything to it: that says nothing of the board, which has to prove itself. */
  | { readonly kind: "leased"; readonly interrupted: Promise<void> }
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

  /** Leaves the board to the holder as it was found. */
  async leave(signal: AbortSignal): Promise<void> {
    const leave = this.console.leave?.();
    // A board that doesn't answer is left as it is.
    if (leave) await this.run(leave, { signal }).catch(() => signal.throwIfAborted());
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
    this.#leave((interrupted) => ({ kind: "doubtful", reason: `${this.who} was interrupted`, interrupted }));
  }

  /** The same after a lease. */
  endLease(): void {
    this.#leave((interrupted) => ({ kind: "leased", interrupted }));
  }

  #leave(outcome: (interrupted: Promise<void>) => Outcome): void {
    if (this.#released) return;
    this.#released = true;
    const interrupted = this.#interrupt().finally(() => {
      void this.#endOff();
      this.#writer[Symbol.dispose]();
    });
    this.#options.onRelease(outcome(interrupted));
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
