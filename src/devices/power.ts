/** Power and reset of a board: commands on the host, or a control line of its port. */
import { setTimeout as delay } from "node:timers/promises";
import type { DeviceConfig } from "#/config/model.ts";
import { BoardFailure } from "./errors.ts";

/** Runs a command on the host, bounded in time, and gives its exit code and the last of what it printed. */
export type HostCommand = (
  script: string,
  signal: AbortSignal,
) => Promise<{ readonly code: number | null; readonly output: string }>;

/** What a reset by control line needs of the port. */
export interface ControlLines {
  setControl(lines: { readonly dtr?: boolean; readonly rts?: boolean }): Promise<void>;
}

// Electrical times, not waits for something: there is no event that says that a capacitor is empty.

/** How long a control line is held for a reset, in milliseconds: the capacitors on usual boards take 10 to 50. */
const resetPulse = 100;
/** Between off and on, in milliseconds: until the board's own capacitors are empty. */
const offTime = 1000;

export class Power {
  readonly #config: Pick<DeviceConfig, "power" | "reset">;
  readonly #command: HostCommand;

  constructor(config: Pick<DeviceConfig, "power" | "reset">, command: HostCommand) {
    this.#config = config;
    this.#command = command;
  }

  /** Whether there is anything that brings the board back from whatever it does. */
  get canRestart(): boolean {
    const { power, reset } = this.#config;
    return power.cycle !== undefined || power.off !== undefined || reset !== undefined;
  }

  /**
   * Switches the board's power.
   * @throws BoardFailure power-failed, also when the configuration has no command for it
   */
  async switch(action: "on" | "off" | "cycle", signal: AbortSignal): Promise<void> {
    const { power } = this.#config;
    const command = power[action];
    if (command !== undefined) return this.#run(action, command, signal);
    if (action !== "cycle")
      throw new BoardFailure("power-failed", `the device has no command power.${action}`);
    await this.switch("off", signal);
    await delay(offTime, undefined, { signal });
    await this.switch("on", signal);
  }

  /** Whether startAnew() can be had. */
  get canStartAnew(): boolean {
    return this.#config.power.off !== undefined || this.#config.reset !== undefined;
  }

  /**
   * Restarts the board by a way in which there is a moment when it surely is down.
   * @param onDown is called then: what comes later is said by the board's new life
   */
  async startAnew(lines: ControlLines, signal: AbortSignal, onDown: () => void): Promise<void> {
    if (this.#config.power.off === undefined) return this.reset(lines, signal, onDown);
    await this.switch("off", signal);
    await delay(offTime, undefined, { signal });
    onDown();
    await this.switch("on", signal);
  }

  /**
   * Resets by control line: what esptool and avrdude do.
   * @param onDown is called while the board is held in reset
   * @throws BoardFailure power-failed, or the port's error
   */
  async reset(lines: ControlLines, signal: AbortSignal, onDown = () => {}): Promise<void> {
    const { reset } = this.#config;
    if (reset === undefined) throw new BoardFailure("power-failed", "the device has no reset line");
    await lines.setControl({ [reset]: true });
    try {
      await delay(resetPulse, undefined, { signal });
      onDown();
    } finally {
      await lines.setControl({ [reset]: false });
    }
  }

  /** Brings the board back by the strongest means there is. */
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
