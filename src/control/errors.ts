/** What can go wrong between a command and the agent it talks to. */

export type ControlErrorCode =
  /** No agent listens on the socket. */
  | "NO_AGENT"
  /** The socket's mode keeps this user out. */
  | "FORBIDDEN"
  /** The agent said no; the message is its own. */
  | "REFUSED"
  /** The socket can't be made. */
  | "LISTEN";

export class ControlError extends Error {
  override readonly name = "ControlError";
  readonly code: ControlErrorCode;

  /** @param message one line: what is wrong, and what to do */
  constructor(code: ControlErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
