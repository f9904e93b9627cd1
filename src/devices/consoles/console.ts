/** What every kind of console offers: dialogues with a board. */
import type { ConsoleKind } from "#/config/model.ts";
import type { Dialogue } from "./dialogue.ts";

export interface Console {
  readonly kind: ConsoleKind;
  /**
   * Gets to a prompt that labgear controls, from any state: booting, a login prompt, an open quote, a running command, silence.
   * @param isRestarted whether the board was just restarted, and hasn't been heard since
   * @throws BoardFailure silent, noise, wrong-speed, login-refused, panic
   */
  enter(timeoutMs: number, isRestarted?: boolean): Dialogue<void>;
  /**
   * Runs a command or script, after enter(). Its output comes in `output` steps while it runs.
   * @throws BoardFailure rebooted, panic, silent, noise: the exit code is unknown then, and never guessed
   */
  run(script: string, options: RunOptions): Dialogue<RunResult>;
  /**
   * Ends what runs and goes back to the prompt, even if the last dialogue was cut off.
   * @returns false after the timeout
   */
  interrupt(timeoutMs: number): Dialogue<boolean>;
  /**
   * Leaves the board to others as it was found: nothing of labgear's stays there. Also after a dialogue that was cut off.
   * @returns undefined if nothing does
   */
  leave?(): Dialogue<void> | undefined;
  /**
   * Copies a file to the board, verified by digest, and resumes an interrupted copy. Absent where the console can't.
   * @throws BoardFailure
   */
  put?(file: Source, to: string): Dialogue<void>;
  /**
   * Copies a file from the board, verified by digest. Keeps what the sink already has if the file begins with it.
   * @throws BoardFailure
   */
  get?(from: string, sink: Sink): Dialogue<void>;
  /** What has to be typed before a person finds the board's own prompt; absent: nothing. */
  readonly handOver?: string;
}

export interface RunOptions {
  /** After it the run throws RunTimeout, and the caller interrupts. */
  readonly timeoutMs: number;
}

export interface RunResult {
  readonly code: number;
  /** Whether all of the output arrived. If not, a note says why. */
  readonly complete: boolean;
}

/** A file on the host. It is read in order, but a piece may be read again. */
export interface Source {
  /** Bytes. */
  readonly size: number;
  /** @returns fewer than `length` bytes only at the end */
  read(offset: number, length: number): Uint8Array;
}

/** The file on the host that a copy from the board goes to. */
export interface Sink {
  /** Bytes that it already has from an earlier attempt. */
  readonly size: number;
  read(offset: number, length: number): Uint8Array;
  append(bytes: Uint8Array): void;
  truncate(size: number): void;
}
