/** Power and reset of a board: commands on the host, or the control lines of its port. */
import { setTimeout as delay } from "node:timers/promises";
import type { DeviceConfig, RecoverStep } from "#/config/model.ts";
import { BoardFailure, DeviceError } from "./errors.ts";
import type { Control } from "./port/line.ts";

/** Runs a command on the host until the signal aborts. @returns its exit code, null if it was killed, and the end of its output */
export type HostCommand = (
  script: string,
  signal: AbortSignal,
  variables?: Readonly<Record<string, string>>,
) => Promise<{ readonly code: number | null; readonly output: string }>;

export interface ControlLines {
  setControl(lines: Control): Promise<void>;
}

// Electrical times: no event says that a capacitor is empty.

/** How long a control line is held for a reset: the capacitors on usual boards take 10 to 50 ms. */
const resetPulseMs = 100;
/** From the edge that resets an Arduino until it is down; it takes 65 ms to start. */
const resetEdgeMs = 20;
/** Between off and on, until the board's own capacitors are empty. */
const powerOffMs = 1000;

/** The control lines while the board runs, and what differs during a reset. Where they can't change at once, the order matters. */
const resetLines: Readonly<
  Record<NonNullable<DeviceConfig["reset"]>, { readonly idle: Control; readonly pulse: Control }>
> = {
  // Two transistors hold EN low while RTS is on and DTR off, and IO0 low while DTR is on and RTS off (esptool's ClassicReset).
  esp32: { idle: { rts: false, dtr: false }, pulse: { rts: true } },
  // The other line may select the mode in which the board starts.
  rts: { idle: { dtr: false, rts: false }, pulse: { rts: true } },
  dtr: { idle: { rts: false, dtr: false }, pulse: { dtr: true } },
  // A capacitor makes a pulse of the edge when DTR goes on again (avrdude's arduino programmer).
  arduino: { idle: { dtr: true, rts: true }, pulse: { dtr: false, rts: false } },
};

/** How a device's control lines are set when its port is opened. */
export function idleLines({ reset }: Pick<DeviceConfig, "reset">): Control {
  return reset === undefined ? {} : resetLines[reset].idle;
}

/**
 * Is called when a board is down: what it prints from then on is from after the restart.
 * @param stays it stays down until this returns
 */
export type OnDown = (stays: boolean) => void | Promise<void>;

export class Power {
  readonly #config: Pick<DeviceConfig, "power" | "reset">;
  readonly #command: HostCommand;

  constructor(config: Pick<DeviceConfig, "power" | "reset">, command: HostCommand) {
    this.#config = config;
    this.#command = command;
  }

  /** Whether power or reset can bring the board back from any state. */
  get canRestart(): boolean {
    const { power, reset } = this.#config;
    return power.cycle !== undefined || power.off !== undefined || reset !== undefined;
  }

  /** Of restart(). */
  get restartTimeoutMs(): number {
    return 2 * this.#config.power.timeoutMs + 10_000;
  }

  /**
   * Switches the board's power.
   * @throws BoardFailure power-failed, also if the configuration has no such command
   */
  async switch(
    action: "on" | "off" | "cycle",
    signal: AbortSignal,
    onDown: OnDown = () => {},
  ): Promise<void> {
    const { power } = this.#config;
    const command = power[action];
    if (command !== undefined) {
      // Nothing shows when a cycle command has switched off: what comes while it runs may be from the restarted board.
      if (action !== "off") await onDown(false);
      return this.#run(action, command, signal);
    }
    if (action !== "cycle")
      throw new BoardFailure("power-failed", `the device has no command power.${action}`);
    await this.#offAndOn(signal, onDown);
  }

  /** Whether startAnew() is possible. */
  get canStartAnew(): boolean {
    return this.#config.power.off !== undefined || this.#config.reset !== undefined;
  }

  /** Restarts the board in a way that has a moment when it is certainly down. */
  async startAnew(lines: ControlLines, signal: AbortSignal, onDown: OnDown): Promise<void> {
    if (this.#config.power.off === undefined) return this.reset(lines, signal, onDown);
    await this.#offAndOn(signal, onDown);
  }

  /**
   * Resets by the control lines, like esptool and avrdude.
   * @throws BoardFailure power-failed, also if the port has no control lines; another error of the port
   */
  async reset(lines: ControlLines, signal: AbortSignal, onDown: OnDown = () => {}): Promise<void> {
    const { reset } = this.#config;
    if (reset === undefined) throw new BoardFailure("power-failed", "the device has no reset line");
    const { idle, pulse } = resetLines[reset];
    await setLines(lines, idle);
    try {
      await setLines(lines, pulse);
      await delay(resetPulseMs, undefined, { signal });
      if (reset !== "arduino") await onDown(true);
    } finally {
      await setLines(lines, idle);
    }
    if (reset !== "arduino") return;
    await delay(resetEdgeMs, undefined, { signal });
    await onDown(false);
  }

  /** Restarts the board by the strongest means it has. @param lines undefined: its port isn't open */
  async restart(lines: ControlLines | undefined, signal: AbortSignal, onDown: OnDown): Promise<void> {
    const { power } = this.#config;
    if (power.cycle !== undefined || power.off !== undefined) return this.switch("cycle", signal, onDown);
    if (!lines) throw new BoardFailure("power-failed", "it can't be reset: its port isn't open");
    await this.reset(lines, signal, onDown);
  }

  /** Flashes a known image. @throws BoardFailure flash-failed */
  async flash(
    { script, timeoutMs }: Extract<RecoverStep, { kind: "flash" }>,
    variables: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<void> {
    const end = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const problem = commandProblem(await this.#command(script, end, variables));
    if (problem !== undefined) throw new BoardFailure("flash-failed", `flashing the known image ${problem}`);
  }

  async #offAndOn(signal: AbortSignal, onDown: OnDown): Promise<void> {
    await this.switch("off", signal);
    await delay(powerOffMs, undefined, { signal });
    await onDown(true);
    await this.switch("on", signal);
  }

  async #run(action: string, command: string, signal: AbortSignal): Promise<void> {
    const timeout = AbortSignal.timeout(this.#config.power.timeoutMs);
    const problem = commandProblem(await this.#command(command, AbortSignal.any([signal, timeout])));
    if (problem !== undefined) throw new BoardFailure("power-failed", `power.${action} ${problem}`);
  }
}

function commandProblem({ code, output }: Awaited<ReturnType<HostCommand>>): string | undefined {
  if (code === 0) return undefined;
  const last = output.trimEnd().split("\n").at(-1)?.trim();
  const how = code === null ? "didn't end in time" : `ended with exit code ${code}`;
  return `${how}${last ? `: ${last.slice(0, 200)}` : ""}`;
}

async function setLines(lines: ControlLines, control: Control): Promise<void> {
  try {
    await lines.setControl(control);
  } catch (cause) {
    if (!(cause instanceof DeviceError) || cause.code !== "PORT_REFUSED") throw cause;
    throw new BoardFailure("power-failed", cause.message, { cause });
  }
}
