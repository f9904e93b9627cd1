/** The named causes of what goes wrong with a board, and what each one means for a build. */

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
