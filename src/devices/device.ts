/** One device: its port, its health, and who has it. */
import { EventEmitter } from "node:events";
import type { DeviceConfig } from "#/config/model.ts";
import type { SystemCalls } from "#/host/syscalls.ts";
import { Condition } from "#/lib/condition.ts";
import type { Console } from "./consoles/console.ts";
import { newConsole } from "./consoles/new-console.ts";
import { newTypingProfile } from "./consoles/typing.ts";
import type { Discovery } from "./discovery/discovery.ts";
import { BoardFailure, DeviceError, inWords } from "./errors.ts";
import { type Health, HealthRecord } from "./health.ts";
import { Port } from "./port/port.ts";
import type { PortWriter } from "./port/writer.ts";
import { type HostCommand, Power } from "./power.ts";
import { prove } from "./probe.ts";
import { type Outcome, Reservation } from "./reservation.ts";
import { type DeviceState, type Standing, type StateEntry, StateHistory, standingOf } from "./state.ts";

export interface DeviceOptions {
  readonly config: DeviceConfig;
  readonly port: Port;
  readonly power: Power;
  readonly newConsole: () => Console;
  readonly health: HealthRecord;
}

/** How long a command or line may take to restart the board, in milliseconds. */
const restartTime = 60_000;
/** From one try to prove a board to the next, in milliseconds: doubled each time. */
const firstRetry = 2000;
const lastRetry = 5 * 60_000;
/** How often a board that can't be proved is restarted before it is only asked. */
const restarts = 3;

export class Device extends EventEmitter<{ changed: [] }> implements AsyncDisposable {
  readonly name: string;
  readonly config: DeviceConfig;
  readonly port: Port;
  readonly health: HealthRecord;
  readonly #options: DeviceOptions;
  readonly #ending = new AbortController();
  readonly #history = new StateHistory();
  readonly #changes = new Condition();
  readonly #living: Promise<void>;
  #paused: string | undefined;
  /** It was proved, and nothing has put that in doubt. */
  #trusted = false;
  /** It has to be asked before it is ready, be it trusted or not. */
  #unproved = true;
  /** Tries to prove it since it was plugged in, or resumed. */
  #tries = 0;
  #reservation: Reservation | undefined;
  /** How the last reservation ended, until the board is brought back from it. */
  #outcome: Outcome | undefined;

  constructor(options: DeviceOptions) {
    super();
    this.setMaxListeners(0);
    this.#options = options;
    this.name = options.config.name;
    this.config = options.config;
    this.port = options.port;
    this.health = options.health;
    this.port.on("state", this.#onPort);
    this.#living = this.#live();
  }

  get state(): DeviceState {
    return this.#history.state;
  }

  /** The latest states, the oldest first. */
  get history(): readonly StateEntry[] {
    return this.#history.entries;
  }

  /** Where in the port's stream the time of who has it now began. */
  get reservedFrom(): number | undefined {
    return this.#reservation?.from;
  }

  get standing(): Standing {
    return standingOf(this.state, this.#trusted, this.config.health.job !== undefined);
  }

  /** Keeps builds off it, once the one that runs has ended; a person may then write to its console. */
  pause(reason: string): void {
    this.#paused = reason;
    this.#changes.wake();
  }

  /** Ends a pause and a quarantine; the board has to prove itself. */
  resume(): void {
    this.#paused = undefined;
    this.health.clear();
    this.#tries = 0;
    this.#changes.wake();
  }

  /**
   * Reserves the device. Waits while it is being made ready; a quarantined one is given to its health job alone.
   * @param job absent: a person has it by hand
   * @throws BoardFailure when it can't be had; the signal's reason
   */
  async reserve(who: string, job: string | undefined, signal: AbortSignal): Promise<Reservation> {
    const available = () =>
      this.#reservation === undefined &&
      (this.state.kind === "ready" ||
        (this.state.kind === "paused" && job === undefined) ||
        (this.state.kind === "quarantined" && job !== undefined && job === this.config.health.job));
    const mayCome = () =>
      this.#reservation !== undefined || ["proving", "recovering", "busy"].includes(this.state.kind);
    signal.throwIfAborted();
    // Another caller that waited too may have taken it by the time this one continues.
    while (!available()) {
      if (!mayCome()) throw this.#notReady();
      await this.#changes.until(() => available() || !mayCome(), signal);
    }
    this.#reservation = new Reservation({
      who,
      port: this.port,
      power: this.#options.power,
      console: this.#options.newConsole(),
      onRelease: (outcome) => this.#released(outcome, job),
    });
    this.#changes.wake();
    return this.#reservation;
  }

  /**
   * Writes by hand, while the device is paused.
   * @throws DeviceError PORT_BUSY
   */
  openWriter(who: string): PortWriter {
    if (this.state.kind !== "paused" || this.#reservation) {
      const message = `${this.name} is ${this.state.kind}: pause it before writing (labgear pause ${this.name})`;
      throw new DeviceError("PORT_BUSY", message);
    }
    return this.port.acquire(who);
  }

  #notReady(): BoardFailure {
    const state = this.state;
    const why = "reason" in state ? `: ${state.reason}` : "";
    const cause = state.kind === "absent" || state.kind === "opening" ? "unplugged" : "silent";
    return new BoardFailure(cause, `${this.name} is ${state.kind}${why}`);
  }

  readonly #onPort = () => this.#changes.wake();

  #released(outcome: Outcome, job: string | undefined): void {
    this.#reservation = undefined;
    this.#outcome = outcome;
    this.health.count(outcome, job);
    this.#changes.wake();
  }

  /** One state after the other, until the end; each returns when something else is the case. */
  async #live(): Promise<void> {
    while (!this.#ended) {
      if (this.#outcome) await this.#recover(this.#outcome);
      else if (this.#reservation) await this.#serve(this.#reservation);
      else if (this.port.state.kind !== "open") await this.#waitForPort();
      else if (this.#paused !== undefined) await this.#rest({ kind: "paused", reason: this.#paused });
      else if (this.health.quarantine !== undefined)
        await this.#rest({ kind: "quarantined", reason: this.health.quarantine });
      else if (this.#unproved) await this.#prove();
      else await this.#rest({ kind: "ready" });
    }
  }

  get #ended(): boolean {
    return this.#ending.signal.aborted && !this.#reservation && !this.#outcome;
  }

  async #waitForPort(): Promise<void> {
    this.#trusted = false;
    this.#unproved = true;
    this.#tries = 0;
    await this.#changes.until(() => {
      const { state } = this.port;
      if (state.kind === "open") return true;
      const reason = "reason" in state ? state.reason : "its port is being opened";
      this.#enter({ kind: state.kind === "absent" ? "absent" : "opening", reason });
      return this.#ended;
    });
  }

  /** A state that lasts until somebody wants something, or the port goes. */
  async #rest(state: DeviceState): Promise<void> {
    // Whoever wrote by hand may have left it in any state.
    if (state.kind === "paused") this.#unproved = true;
    this.#enter(state);
    await this.#changes.until(() => this.#isDisturbed(state));
  }

  #isDisturbed(state: DeviceState): boolean {
    if (this.#reservation || this.#ended || this.port.state.kind !== "open") return true;
    if (state.kind === "paused") return this.#paused === undefined;
    if (this.#paused !== undefined) return true;
    return state.kind === "quarantined" && this.health.quarantine === undefined;
  }

  async #serve(reservation: Reservation): Promise<void> {
    this.#enter({ kind: "busy", who: reservation.who });
    await this.#changes.until(() => this.#outcome !== undefined);
  }

  /** On every way out of a build: power or reset, so that nothing of it is left for the next. */
  async #recover(outcome: Outcome): Promise<void> {
    const isDoubtful = outcome.kind === "doubtful" || outcome.kind === "sick";
    const restarts = this.#options.power.canRestart && outcome.kind !== "by-hand";
    if (isDoubtful) this.#trusted = false;
    if (restarts || isDoubtful || outcome.kind === "by-hand") this.#unproved = true;
    const reason = isDoubtful ? outcome.reason : "it is brought back to where it began";
    if (restarts || isDoubtful) this.#enter({ kind: "recovering", reason });
    if (restarts) await this.#restart();
    this.#outcome = undefined;
  }

  async #restart(): Promise<void> {
    const { power } = this.#options;
    try {
      const writer = this.port.state.kind === "open" ? this.port.acquire("reset") : undefined;
      using _ = writer;
      await power.restart(writer, AbortSignal.timeout(restartTime));
    } catch (error) {
      this.#trusted = false;
      this.#unproved = true;
      this.#enter({ kind: "recovering", reason: inWords(error as Error) });
    }
  }

  async #prove(): Promise<void> {
    this.#enter({ kind: "proving", reason: "it is asked what it is" });
    const giveUp = new AbortController();
    const disturbed = this.#changes
      .until(() => this.#isDisturbed({ kind: "ready" }), giveUp.signal)
      .catch(() => {});
    const stopped = new AbortController();
    void disturbed.then(() => stopped.abort());
    try {
      await prove(this.config, this.port, this.#options.newConsole(), stopped.signal);
      this.#trusted = true;
      this.#unproved = false;
      this.#tries = 0;
    } catch (error) {
      this.#trusted = false;
      if (!stopped.signal.aborted) await this.#afterDisproof(inWords(error as Error));
    } finally {
      giveUp.abort();
    }
  }

  /** Tries to bring the board back, and waits longer each time. */
  async #afterDisproof(message: string): Promise<void> {
    const wait = Math.min(lastRetry, firstRetry * 2 ** this.#tries);
    this.#tries += 1;
    this.#enter({ kind: "recovering", reason: `${message}; tried again in ${wait / 1000} s` });
    if (this.#options.power.canRestart && this.#tries <= restarts) await this.#restart();
    const timer = AbortSignal.timeout(wait);
    const tries = this.#tries;
    const isOver = () => this.#isDisturbed({ kind: "ready" }) || this.#tries !== tries;
    await this.#changes.until(isOver, timer).catch(() => {});
  }

  #enter(state: DeviceState): void {
    if (!this.#history.enter(state)) return;
    this.emit("changed");
    this.#changes.wake();
  }

  /** Ends it: a build that has it must have been told to stop, and is waited for. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    this.#changes.wake();
    await this.#living;
    this.port.off("state", this.#onPort);
    await this.port[Symbol.asyncDispose]();
  }
}

export interface OpenDeviceOptions {
  readonly discovery: Discovery;
  readonly calls: SystemCalls | undefined;
  /** Runs its power commands. */
  readonly command: HostCommand;
  /** What is known of it from before a restart. */
  readonly health: Health;
  readonly saveHealth: (health: Health) => void;
}

/** Makes a device from its configuration; it starts to look for its port at once. */
export function openDevice(
  config: DeviceConfig,
  { discovery, calls, command, health, saveHealth }: OpenDeviceOptions,
): Device {
  const profile = newTypingProfile();
  return new Device({
    config,
    port: new Port({ name: config.name, config: config.port, discovery, calls }),
    power: new Power(config, command),
    newConsole: () => newConsole(config, profile),
    health: new HealthRecord(config, health, saveHealth),
  });
}
