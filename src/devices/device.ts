/** A device: its port, its health, and its reservation. The life cycle is drawn in state.ts. */
import { EventEmitter } from "node:events";
import type { DeviceConfig, JobConfig, RecoverStep } from "#/config/model.ts";
import type { SystemCalls } from "#/host/syscalls.ts";
import { Condition } from "#/lib/condition.ts";
import type { Console } from "./consoles/console.ts";
import { runDialogue } from "./consoles/dialogue.ts";
import { newKnownBoard } from "./consoles/linux/known.ts";
import { newConsole } from "./consoles/new-console.ts";
import type { Discovery } from "./discovery/discovery.ts";
import { BoardFailure, type Cause, DeviceError, inWords } from "./errors.ts";
import { type Health, HealthRecord } from "./health.ts";
import { Port } from "./port/port.ts";
import { PortLine } from "./port/port-line.ts";
import { serverUrl } from "./port/source.ts";
import type { PortWriter } from "./port/writer.ts";
import { type HostCommand, idleLines, type OnDown, Power } from "./power.ts";
import { probeBoard, recently } from "./probe.ts";
import { type Outcome, Reservation } from "./reservation.ts";
import {
  beingOpened,
  type DeviceState,
  type Standing,
  type StateEntry,
  StateHistory,
  standingOf,
} from "./state.ts";

/** The part of a job that says when it may have the device. */
export type ReservingJob = Pick<JobConfig, "name" | "needs"> & Partial<Pick<JobConfig, "trust">>;

export interface DeviceOptions {
  readonly config: DeviceConfig;
  readonly port: Port;
  readonly power: Power;
  readonly newConsole: () => Console;
  readonly health: HealthRecord;
}

/** Between probes of a board that fails them: doubled from the first to the last. */
const firstRetryMs = 2000;
const lastRetryMs = 5 * 60_000;
/** For taking back what labgear did on the board. */
const leaveTimeoutMs = 4000;
/** Restarts after failed probes in a row; later probes do without. */
const maxRestarts = 3;
/** What still runs on the host for the board when the agent ends: a flash that is cut off leaves half an image. */
const closeTimeoutMs = 10_000;
/** For a person who writes to end when the board is resumed. */
const handTimeoutMs = 5000;

export class Device extends EventEmitter<{ changed: [] }> implements AsyncDisposable {
  readonly name: string;
  readonly config: DeviceConfig;
  readonly port: Port;
  readonly health: HealthRecord;
  readonly #options: DeviceOptions;
  readonly #ending = new AbortController();
  /** Ends what takes too long after that. */
  readonly #closing = new AbortController();
  readonly #history = new StateHistory();
  readonly #changes = new Condition();
  readonly #living: Promise<void>;
  #paused: { readonly reason: string; readonly by?: string } | undefined;
  #resumed = new AbortController();
  /** It passed a probe, and nothing has put that in doubt. */
  #trusted = false;
  /** It must pass a probe before it is ready, trusted or not. */
  #needsProbe = true;
  /** Failed probes in a row since it was plugged in or resumed. */
  #failedProbes = 0;
  /** The offset in the port's stream at which the board was last restarted. */
  #bootedFrom = 0;
  /** Whether it was restarted, or panicked, and nothing has waited for its boot yet. */
  #isBooting = false;
  /** What may still bring it back after the last build. */
  #recoverSteps: RecoverStep[] = [];
  /** A port that goes away until then went because of the build. */
  #isBuildsFaultUntil = 0;
  /** It waits for the next probe. */
  #isWaiting = false;
  #reservation: Reservation | undefined;
  /** How the last reservation ended, until the board has recovered from it. */
  #outcome: Outcome | undefined;

  constructor(options: DeviceOptions) {
    super();
    this.setMaxListeners(0);
    this.#options = options;
    this.name = options.config.name;
    this.config = options.config;
    this.port = options.port;
    this.health = options.health;
    this.port.on("state", this.#onPort).on("free", this.#onPort);
    this.#living = this.#live();
  }

  get state(): DeviceState {
    return this.#history.state;
  }

  /** The latest states, oldest first. */
  get history(): readonly StateEntry[] {
    return this.#history.entries;
  }

  /** The offset in the port's stream at which the current reservation starts. */
  get reservedFrom(): number | undefined {
    return this.#reservation?.from;
  }

  get standing(): Standing {
    return standingOf(this.state, this.#trusted, this.config.health.job !== undefined);
  }

  /** What a script knows of its board. */
  get variables(): Record<string, string> {
    const { address, baud } = this.config.port;
    const url = address.kind === "tty" ? this.port.path : serverUrl(address);
    return {
      LABGEAR_DEVICE: this.name,
      ...(url !== undefined && { LABGEAR_PORT: url }),
      LABGEAR_BAUD: String(baud),
    };
  }

  /** Takes no more builds; once the current one has ended, a person may write to the console. */
  pause(reason: string, by?: string): void {
    this.#paused = { reason, ...(by !== undefined && { by }) };
    this.#changes.wake();
  }

  /** Ends a pause and a quarantine. The board must pass a probe. */
  resume(): void {
    this.#paused = undefined;
    this.#resumed.abort(new DeviceError("PORT_LOST", `${this.name} is resumed`));
    this.#resumed = new AbortController();
    this.health.clear();
    this.#failedProbes = 0;
    this.#changes.wake();
  }

  /**
   * Reserves the device. Waits while it is in use or recovers. A quarantined one takes only its health job, one that doesn't
   * pass its probe only jobs that bring it up themselves.
   * @param who the holder, for messages
   * @param job absent for a person
   * @throws BoardFailure if it isn't available; the signal's reason
   */
  async reserve(who: string, job: ReservingJob | undefined, signal: AbortSignal): Promise<Reservation> {
    const available = () =>
      this.#reservation === undefined &&
      (this.state.kind === "ready" ||
        (this.state.kind === "paused" && job === undefined) ||
        (this.#isWaiting && job?.needs === "power") ||
        (this.state.kind === "quarantined" && job !== undefined && job.name === this.config.health.job));
    const mayBecome = () =>
      this.#reservation !== undefined || ["proving", "recovering", "busy"].includes(this.state.kind);
    signal.throwIfAborted();
    // By the time this caller continues, another one that waited may have it.
    while (!available()) {
      if (!mayBecome()) throw this.#notReady();
      await this.#changes.until(() => available() || !mayBecome(), signal);
    }
    const reservation = new Reservation({
      who,
      port: this.port,
      power: this.#options.power,
      bootTimeoutMs: this.config.bootTimeoutMs,
      console: this.#options.newConsole(),
      recentFrom: recently(this.port, this.#bootedFrom, false),
      onRelease: (outcome) => this.#released(outcome, job?.name),
    });
    this.#reservation = reservation;
    this.#changes.wake();
    if (!job && !this.#isBooting) await reservation.leave(signal);
    await this.#restore(reservation, job?.trust, signal);
    return reservation;
  }

  /**
   * Before a job of another trust than the last one's, the board gets its known image.
   * @throws BoardFailure, and releases it; the signal's reason
   */
  async #restore(
    reservation: Reservation,
    trust: JobConfig["trust"] | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { restore, bootTimeoutMs } = this.config;
    if (!restore || trust === undefined) return;
    const { trust: last } = this.health;
    if (last !== undefined && last !== trust) {
      try {
        await reservation.flash(restore, this.variables, signal);
        await reservation.run(reservation.console.enter(bootTimeoutMs, true), { signal });
      } catch (error) {
        const reason = inWords(error as Error);
        reservation.release({ kind: signal.aborted ? "doubtful" : "sick", reason });
        throw error;
      }
    }
    this.health.setTrust(trust);
  }

  /** Aborts with a DeviceError when the device is resumed next. */
  get resumed(): AbortSignal {
    return this.#resumed.signal;
  }

  /**
   * Lets a person write while the device is paused, until it is resumed.
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
    if (job !== undefined) this.#recoverSteps = [...(this.config.recover ?? [])];
    if (job !== undefined) this.#isBuildsFaultUntil = performance.now() + this.config.bootTimeoutMs;
    this.#changes.wake();
  }

  /** One state after another, until the end; each returns when another one applies. */
  async #live(): Promise<void> {
    while (!this.#ended) {
      if (this.#outcome) await this.#recover(this.#outcome);
      else if (this.#reservation) await this.#serve(this.#reservation);
      else if (this.port.state.kind !== "open") await this.#waitForPort();
      else if (this.#paused !== undefined) await this.#restPaused();
      else if (this.health.quarantine !== undefined)
        await this.#rest({ kind: "quarantined", reason: this.health.quarantine });
      else if (this.#needsProbe) await this.#probe();
      else await this.#rest({ kind: "ready" });
    }
  }

  get #ended(): boolean {
    return this.#ending.signal.aborted && !this.#reservation && !this.#outcome;
  }

  async #waitForPort(): Promise<void> {
    const { returning } = this.port;
    if (returning !== undefined) {
      this.#needsProbe = true;
      this.#enter({ kind: "recovering", reason: "its port comes back after a restart" });
      return returning;
    }
    this.#trusted = false;
    this.#needsProbe = true;
    this.#failedProbes = 0;
    this.#isBooting = false;
    const isOver = () => {
      const { state } = this.port;
      if (state.kind === "open") return true;
      const reason = "reason" in state ? state.reason : beingOpened;
      this.#enter({ kind: state.kind === "absent" ? "absent" : "opening", reason });
      return this.#ended;
    };
    const isBuildsFault = performance.now() < this.#isBuildsFaultUntil;
    while (!isOver()) {
      const mayRecover = isBuildsFault && this.#recoverSteps.length > 0;
      const timeout = mayRecover ? AbortSignal.timeout(this.config.bootTimeoutMs) : undefined;
      await this.#changes.until(isOver, timeout).catch(() => this.#recoverPort());
    }
  }

  /** A board with native USB has no port while a bad image runs on it. */
  async #recoverPort(): Promise<void> {
    if (this.port.state.kind !== "absent") return;
    if (this.#paused !== undefined || this.health.quarantine !== undefined) return;
    // A reset needs the port.
    const step = this.#recoverSteps.find(({ kind }) => kind !== "reset");
    this.#recoverSteps = step ? this.#recoverSteps.slice(this.#recoverSteps.indexOf(step) + 1) : [];
    if (!step) return;
    const { reason } = this.port.state;
    this.#enter({ kind: "recovering", reason: `${reason}; recovering: ${step.kind}`, cause: "unplugged" });
    await this.#runStep(step);
    this.#isBuildsFaultUntil = performance.now() + this.config.bootTimeoutMs;
  }

  /** A state that lasts until a reservation, a pause or resume, or the loss of the port. */
  async #rest(state: DeviceState): Promise<void> {
    // A person who wrote may have left it in any state.
    if (state.kind === "paused") this.#needsProbe = true;
    this.#enter(state);
    await this.#changes.until(() => this.#isDisturbed(state));
  }

  async #restPaused(): Promise<void> {
    await this.#leave();
    if (this.#paused !== undefined) await this.#rest({ kind: "paused", ...this.#paused });
    const { holder } = this.port;
    if (this.#paused !== undefined || this.#reservation || holder === undefined) return;
    // A probe that finds the port in use would count against the board.
    this.#enter({ kind: "recovering", reason: `${holder} is being ended` });
    const isFree = () => this.port.holder === undefined;
    await this.#changes.until(isFree, AbortSignal.timeout(handTimeoutMs)).catch(() => {});
  }

  /**
   * Nothing of labgear's stays on a board that others take, or when the agent ends. Nothing is typed into a boot.
   * @param console whose dialogue was cut off
   */
  async #leave(console?: Console): Promise<void> {
    if (this.#isBooting || this.port.state.kind !== "open") return;
    try {
      const leave = (console ?? this.#options.newConsole()).leave?.();
      if (!leave) return;
      // No build gets it meanwhile.
      if (this.state.kind === "ready")
        this.#enter({ kind: "recovering", reason: "it is being left as it was found" });
      using writer = this.port.acquire("the agent, which leaves the board");
      const line = new PortLine(this.port, writer, this.port.ring.end);
      await runDialogue(leave, line, { signal: AbortSignal.timeout(leaveTimeoutMs) });
    } catch {
      // The board doesn't answer as it should; its next probe shows that.
    }
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

  /** However a build ended: power or reset, so that it leaves nothing for the next one. */
  async #recover(outcome: Outcome): Promise<void> {
    const isDoubtful = outcome.kind === "doubtful" || outcome.kind === "sick";
    const isRestarted = this.#options.power.canRestart && outcome.kind !== "by-hand";
    if (isDoubtful) this.#trusted = false;
    const isLeased = outcome.kind === "leased";
    if (isRestarted || isDoubtful || isLeased || outcome.kind === "by-hand") this.#needsProbe = true;
    const reason = isDoubtful ? outcome.reason : `it is being reset after a ${isLeased ? "lease" : "build"}`;
    if (isRestarted || isDoubtful || isLeased) this.#enter({ kind: "recovering", reason });
    if (isLeased || outcome.kind === "doubtful") await outcome.interrupted;
    await this.port.restoreBaud().catch(() => {
      // Its next probe shows whether the board can be read.
      this.#needsProbe = true;
    });
    if (outcome.kind === "doubtful" && outcome.isBooting) this.#bootsFromNow();
    if (isRestarted) await this.#restart();
    this.#outcome = undefined;
  }

  #restart(): Promise<void> {
    const { power } = this.#options;
    return this.#change(AbortSignal.timeout(power.restartTimeoutMs), (writer, signal, onDown) =>
      power.restart(writer, signal, onDown),
    );
  }

  async #runStep(step: RecoverStep): Promise<void> {
    const { power } = this.#options;
    const timeoutMs = step.kind === "flash" ? step.timeoutMs : power.restartTimeoutMs;
    await this.#change(AbortSignal.timeout(timeoutMs), async (writer, signal, onDown) => {
      if (step.kind === "power") return power.switch("cycle", signal, onDown);
      if (step.kind === "reset") {
        if (!writer) throw new BoardFailure("unplugged", "its port isn't open");
        return power.reset(writer, signal, onDown);
      }
      await using _ = step.lend ? await writer?.lend() : undefined;
      await onDown(false);
      await power.flash(step, this.variables, signal);
    });
  }

  /** Restarts or flashes the board; a failure shows in its next probe. */
  async #change(
    timeout: AbortSignal,
    work: (writer: PortWriter | undefined, signal: AbortSignal, onDown: OnDown) => Promise<void>,
  ): Promise<void> {
    const signal = AbortSignal.any([timeout, this.#closing.signal]);
    try {
      const isOpen = this.port.state.kind === "open";
      await using _ = isOpen
        ? this.port.allowAbsence(this.config.bootTimeoutMs, this.#ending.signal)
        : undefined;
      const writer = isOpen ? this.port.acquire("reset") : undefined;
      using __ = writer;
      await work(writer, signal, () => this.#bootsFromNow());
    } catch (error) {
      this.#trusted = false;
      this.#needsProbe = true;
      this.#enter({ kind: "recovering", reason: inWords(error as Error), cause: causeOf(error as Error) });
    }
  }

  #bootsFromNow(): void {
    this.#bootedFrom = this.port.ring.end;
    this.#isBooting = true;
  }

  async #probe(): Promise<void> {
    this.#enter({ kind: "proving", reason: "it is being probed" });
    const giveUp = new AbortController();
    const disturbed = this.#changes
      .until(() => this.#isDisturbed({ kind: "ready" }), giveUp.signal)
      .catch(() => {});
    const stopped = new AbortController();
    void disturbed.then(() => stopped.abort());
    const isBooting = this.#isBooting;
    this.#isBooting = false;
    let console: Console | undefined;
    try {
      console = this.#options.newConsole();
      await probeBoard({
        config: this.config,
        port: this.port,
        console,
        bootedFrom: this.#bootedFrom,
        isBooting,
        signal: stopped.signal,
      });
      this.#trusted = true;
      this.#needsProbe = false;
      this.#failedProbes = 0;
    } catch (error) {
      this.#trusted = false;
      // A kernel that panicked may boot again by itself.
      if (error instanceof BoardFailure && error.reason === "panic") this.#bootsFromNow();
      if (stopped.signal.aborted) await this.#leave(console);
      else await this.#afterFailedProbe(error as Error);
    } finally {
      giveUp.abort();
    }
  }

  /**
   * After a build, the configured steps come first. Then it counts towards the quarantine if there is a job that can end it;
   * without one, the board is restarted if it can be, and probed again and again, later each time.
   */
  async #afterFailedProbe(error: Error): Promise<void> {
    const message = inWords(error);
    const cause = causeOf(error);
    const step = this.#recoverSteps.shift();
    if (step) {
      this.#enter({ kind: "recovering", reason: `${message}; recovering: ${step.kind}`, cause });
      return this.#runStep(step);
    }
    if (this.config.health.job !== undefined) this.health.count({ kind: "sick", reason: message }, undefined);
    if (this.health.quarantine !== undefined) return;
    // Wrong passwords, one after the other, lock an account.
    const isRefused = error instanceof BoardFailure && error.reason === "login-refused";
    const waitMs = isRefused ? lastRetryMs : Math.min(lastRetryMs, firstRetryMs * 2 ** this.#failedProbes);
    this.#failedProbes += 1;
    const reason = `${message}; the next attempt is in ${waitMs / 1000} s`;
    this.#enter({ kind: "recovering", reason, cause });
    if (this.#options.power.canRestart && this.#failedProbes <= maxRestarts) await this.#restart();
    const timeout = AbortSignal.timeout(waitMs);
    const before = this.#failedProbes;
    const isOver = () => this.#isDisturbed({ kind: "ready" }) || this.#failedProbes !== before;
    this.#isWaiting = true;
    this.#changes.wake();
    await this.#changes.until(isOver, timeout).catch(() => {});
    this.#isWaiting = false;
  }

  #enter(state: DeviceState): void {
    if (!this.#history.enter(state)) return;
    this.emit("changed");
    this.#changes.wake();
  }

  /** Waits for the current reservation, whose build must have been stopped. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    this.#changes.wake();
    const late = setTimeout(() => this.#closing.abort(), closeTimeoutMs);
    await this.#living;
    clearTimeout(late);
    await this.#leave();
    this.port.off("state", this.#onPort).off("free", this.#onPort);
    await this.port[Symbol.asyncDispose]();
  }
}

function causeOf(error: Error): Cause | "probe-failed" {
  return error instanceof BoardFailure ? error.reason : "probe-failed";
}

export interface OpenDeviceOptions {
  readonly discovery: Discovery;
  readonly calls: SystemCalls | undefined;
  /** Runs its power commands. */
  readonly command: HostCommand;
  /** From before a restart. */
  readonly health: Health;
  readonly saveHealth: (health: Health) => void;
}

/** Creates a device, which starts to look for its port at once. */
export function openDevice(
  config: DeviceConfig,
  { discovery, calls, command, health, saveHealth }: OpenDeviceOptions,
): Device {
  const known = newKnownBoard();
  return new Device({
    config,
    port: new Port({ name: config.name, config: config.port, lines: idleLines(config), discovery, calls }),
    power: new Power(config, command),
    newConsole: () => newConsole(config, known),
    health: new HealthRecord(config, health, saveHealth),
  });
}
