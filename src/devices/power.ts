/** Power and reset of a board: commands on the host, or a control line of its port. */
import { setTimeout as delay } from "node:timers/promises";
import type { DeviceConfig } from "#/config/model.ts";
import { BoardFailure } from "./errors.ts";

/** Runs a command on the host, in bounded time. @returns its exit code, null if it was killed, and the end of its output */
export type HostCommand = (
  script: string,
  signal: AbortSignal,
) => Promise<{ readonly code: number | null; readonly output: string }>;

export interface ControlLines {
  setControl(lines: { readonly dtr?: boolean; readonly rts?: boolean }): Promise<void>;
}

// Electrical times: no event says that a capacitor is empty.

/** How long a control line is held for a reset: the capacitors on usual boards take 10 to 50 ms. */
const resetPulseMs = 100;
/** Between off and on, until the board's own capacitors are empty. */
const powerOffMs = 1000;

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

  /**
   * Switches the board's power.
   * @throws BoardFailure power-failed, also if the configuration has no such command
   */
  async switch(action: "on" | "off" | "cycle", signal: AbortSignal): Promise<void> {
    const { power } = this.#config;
    const command = power[action];
    if (command !== undefined) return this.#run(action, command, signal);
    if (action !== "cycle")
      throw new BoardFailure("power-failed", `the device has no command power.${action}`);
    await this.switch("off", signal);
    await delay(powerOffMs, undefined, { signal });
    await this.switch("on", signal);
  }

  /** Whether startAnew() is possible. */
  get canStartAnew(): boolean {
    return this.#config.power.off !== undefined || this.#config.reset !== undefined;
  }

  /**
   * Restarts the board in a way that has a moment when it is certainly down.
   * @param onDown is called at that moment: all later output is from after the restart
   */
  async startAnew(lines: ControlLines, signal: AbortSignal, onDown: () => void): Promise<void> {
    if (this.#config.power.off === undefined) return this.reset(lines, signal, onDown);
    await this.switch("off", signal);
    await delay(powerOffMs, undefined, { signal });
    onDown();
    await this.switch("on", signal);
  }

  /**
   * Resets by a control line, like esptool and avrdude.
   * @param onDown is called while the board is held in reset
   * @throws BoardFailure power-failed, or the port's error
   */
  async reset(lines: ControlLines, signal: AbortSignal, onDown = () => {}): Promise<void> {
    const { reset } = this.#config;
    if (reset === undefined) throw new BoardFailure("power-failed", "the device has no reset line");
    await lines.setControl({ [reset]: true });
    try {
      await delay(resetPulseMs, undefined, { signal });
      onDown();
    } finally {
      await lines.setControl({ [reset]: false });
    }
  }

  /** Restarts the board by the strongest means it has. */
  async restart(lines: ControlLines | undefined, signal: AbortSignal): Promise<void> {
    const { power } = this.#config;
    if (power.cycle !== undefined || power.off !== undefined) return this.switch("cycle", signal);
    if (lines) await this.reset(lines, signal);
  }

  async #run(action: string, command: string, signal: AbortSignal): Promise<void> {
    const { code, output } = await this.#command(command, signal);
    if (code === 0) return;
    const last = output.trimEnd().split("\n").at(-1)?.trim();
    const how = code === null ? "didn't end in time" : `ended with exit code ${code}`;
    throw new BoardFailure("power-failed", `power.${action} ${how}${last ? `: ${last.slice(0, 200)}` : ""}`);
  }
}
