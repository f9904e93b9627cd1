/** The errors of devices: each carries a code, and one line that says what is wrong and what to do. */

export type DeviceErrorCode =
  /** Another program or build has it: the message says which, where it is known. */
  | "PORT_BUSY"
  /** There is no such port at this moment. */
  | "PORT_ABSENT"
  /** It went away while it was in use. */
  | "PORT_LOST"
  /** It is there and can't be opened or set up. */
  | "PORT_REFUSED"
  /** It is open and takes no bytes. */
  | "PORT_STUCK"
  /** Several ports fit what the configuration says. */
  | "PORT_AMBIGUOUS";

export class DeviceError extends Error {
  readonly code: DeviceErrorCode;

  constructor(code: DeviceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "DeviceError";
    this.code = code;
  }
}

/**
 * `infrastructure`: not the job's fault, the build ends without a result and the device has to prove itself again.
 * `failure`: the software under test did it, and running it again elsewhere would end the same way.
 */
const meanings = {
  /** The port is gone from the box. */
  unplugged: "infrastructure",
  /** Not a byte came, though something was asked. */
  silent: "infrastructure",
  /** Bytes come, and no prompt among them. */
  noise: "infrastructure",
  /** Bytes come that are no text, as with another speed. */
  "wrong-speed": "infrastructure",
  "login-refused": "infrastructure",
  /** What the board says it is isn't what the configuration says. */
  mismatch: "infrastructure",
  /** The host command that flashes failed. */
  "flash-failed": "infrastructure",
  /** A power or reset command of the host failed. */
  "power-failed": "infrastructure",
  /** Another program holds the port. */
  "port-busy": "infrastructure",
  /** A boot loader's or kernel's first lines came in the middle of the work. */
  rebooted: "failure",
  panic: "failure",
  /** The firmware ran and gave no verdict in its time. */
  "verdict-missing": "failure",
} as const;

export type Cause = keyof typeof meanings;

/** Whose fault a cause is. */
export function meaningOf(cause: Cause): "infrastructure" | "failure" {
  return meanings[cause];
}

/** A board doesn't do what it should, with the named cause. */
export class BoardFailure extends Error {
  readonly code = "BOARD";
  readonly reason: Cause;

  constructor(reason: Cause, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "BoardFailure";
    this.reason = reason;
  }
}

/** A command on a board took longer than it may; it still runs, and whoever goes on interrupts it. */
export class RunTimeout extends Error {
  readonly code = "RUN_TIMEOUT";

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "RunTimeout";
  }
}

/** A file can't be put or got for a reason that isn't the board's: no such folder, no room, or it changed meanwhile. */
export class TransferError extends Error {
  readonly code = "TRANSFER";

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "TransferError";
  }
}

/** An error's message on one line, with the cause's name first where there is one. */
export function inWords(error: Error): string {
  const line = error.message.split("\n", 1)[0] ?? "";
  return error instanceof BoardFailure ? `${error.reason}: ${line}` : line;
}
