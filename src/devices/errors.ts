/** What can go wrong with a device: its port, its board, a command or file on it. */
import { CodedError } from "#/lib/errors.ts";

export type DeviceErrorCode =
  /** Another program or build has it; the message says which, if known. */
  | "PORT_BUSY"
  /** There is no such port now. */
  | "PORT_ABSENT"
  /** It went away while it was in use. */
  | "PORT_LOST"
  /** It can't be opened or set up. */
  | "PORT_REFUSED"
  /** It is open and accepts no bytes. */
  | "PORT_STUCK"
  /** Several ports match the configuration. */
  | "PORT_AMBIGUOUS";

export class DeviceError extends CodedError<DeviceErrorCode> {
  override readonly name = "DeviceError";
}

/**
 * What goes wrong with a board. `infrastructure`: the build ends without a result, and the device must pass its probe again.
 * `failure`: the software under test did it, and would do it again elsewhere.
 */
const meanings = {
  /** The port is gone from the box. */
  unplugged: "infrastructure",
  /** No byte came in answer. */
  silent: "infrastructure",
  /** Bytes come, but no prompt. */
  noise: "infrastructure",
  /** Bytes come that are no text, as at a wrong speed. */
  "wrong-speed": "infrastructure",
  "login-refused": "infrastructure",
  /** The probe's answer isn't what the configuration expects. */
  mismatch: "infrastructure",
  /** The flash command failed. */
  "flash-failed": "infrastructure",
  /** A power or reset command failed. */
  "power-failed": "infrastructure",
  /** Another program holds the port. */
  "port-busy": "infrastructure",
  /** The first lines of a boot loader or kernel came in the middle of the work. */
  rebooted: "failure",
  panic: "failure",
  /** The firmware ran and gave no verdict in time. */
  "verdict-missing": "failure",
} as const;

export type Cause = keyof typeof meanings;

/** What a cause means for a build. */
export function meaningOf(cause: Cause): "infrastructure" | "failure" {
  return meanings[cause];
}

/** Whether a build's cause names what the board or its link did. */
export function isBoardsFault(cause: string): boolean {
  return Object.hasOwn(meanings, cause) && meaningOf(cause as Cause) === "infrastructure";
}

/** A board doesn't do what it should. */
export class BoardFailure extends CodedError<"BOARD"> {
  override readonly name = "BoardFailure";
  readonly reason: Cause;

  constructor(reason: Cause, message: string, options?: ErrorOptions) {
    super("BOARD", message, options);
    this.reason = reason;
  }
}

/** A command on a board took too long. It still runs: the next user of the board has to interrupt it. */
export class RunTimeout extends CodedError<"RUN_TIMEOUT"> {
  override readonly name = "RunTimeout";

  constructor(message: string, options?: ErrorOptions) {
    super("RUN_TIMEOUT", message, options);
  }
}

/** A file can't be transferred, and the board isn't at fault: no such folder, disk full, or changed meanwhile. */
export class TransferError extends CodedError<"TRANSFER"> {
  override readonly name = "TransferError";

  constructor(message: string, options?: ErrorOptions) {
    super("TRANSFER", message, options);
  }
}

/** An error's message on one line, after its cause if it has one. */
export function inWords(error: Error): string {
  const line = error.message.split("\n", 1)[0] ?? "";
  return error instanceof BoardFailure ? `${error.reason}: ${line}` : line;
}
