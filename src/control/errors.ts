/** What can go wrong between a command and the agent it talks to. */
import { CodedError } from "#/lib/errors.ts";

export type ControlErrorCode =
  /** No agent listens on the socket, or what listens there doesn't answer as one. */
  | "NO_AGENT"
  /** The socket's mode keeps this user out. */
  | "FORBIDDEN"
  /** The agent said no; the message is its own. */
  | "REFUSED"
  /** The agent has no such thing. */
  | "NOT_FOUND"
  /** The request has more bytes than the agent takes. */
  | "TOO_LARGE"
  /** The configuration, which was to be read again, is broken. */
  | "CONFIGURATION"
  /** The socket can't be made. */
  | "LISTEN";

export class ControlError extends CodedError<ControlErrorCode> {
  override readonly name = "ControlError";
}
