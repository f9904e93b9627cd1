/** What every kind of console offers: conversations with a board, each of them without I/O of its own. */
import type { ConsoleKind } from "#/config/model.ts";
import type { Dialogue } from "./dialogue.ts";

export interface Console {
  readonly kind: ConsoleKind;
  /**
   * From whatever state the board is in (booting, a login prompt, a shell with an open quote, a running command, silence) to
   * our own prompt.
   * @param timeout milliseconds, in all
   * @throws BoardFailure silent, noise, wrong-speed, login-refused, panic
   */
  enter(timeout: number): Dialogue<void>;
  /**
   * One command or script, after enter(). Its output comes in `output` steps while it runs.
   * @throws BoardFailure rebooted, panic, silent, noise: the exit code couldn't be had, and is never guessed
   */
  run(script: string, options: RunOptions): Dialogue<RunResult>;
  /**
   * Ends what runs and goes back to the prompt, also after another conversation was ended half-way.
   * @param timeout milliseconds
   * @returns false when the board didn't come back within it
   */
  interrupt(timeout: number): Dialogue<boolean>;
  /**
   * A file onto the board, verified by digest; it goes on where an interrupted one stopped. Absent for consoles that can't.
   * @throws BoardFailure
   */
  put?(file: Source, to: string): Dialogue<void>;
  /**
   * A file from the board, verified by digest; what the sink already has is kept when it is the file's beginning.
   * @throws BoardFailure
   */
  get?(from: string, sink: Sink): Dialogue<void>;
}

export interface RunOptions {
  /** Milliseconds until the run is given up: then it throws RunTimeout, and the caller interrupts. */
  readonly timeout: number;
}

export interface RunResult {
  readonly code: number;
  /** False: bytes of the output were lost and could not be had again; a note says where. */
  readonly complete: boolean;
}

/** A file of the host. It is read in order, now and then a piece again. */
export interface Source {
  /** Bytes. */
  readonly size: number;
  /** The bytes from `offset`; fewer than `length` only at the end. */
  read(offset: number, length: number): Uint8Array;
}

/** Where a file from a board goes, on the host. */
export interface Sink {
  /** Bytes that it has already, of an earlier attempt. */
  readonly size: number;
  read(offset: number, length: number): Uint8Array;
  append(bytes: Uint8Array): void;
  /** Drops what is beyond `size`. */
  truncate(size: number): void;
}
