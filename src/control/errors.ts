/** What can go wrong between a command and the agent. */
import { CodedError } from "#/lib/errors.ts";

export type ControlErrorCode =
  /** No agent listens on the socket, or what listens there doesn't answer like one. */
  | "NO_AGENT"
  /** The socket's mode keeps this user out. */
  | "FORBIDDEN"
  /** The agent refused; the message is its own. */
  | "REFUSED"
  /** The agent has no such thing. */
  | "NOT_FOUND"
  /** The request is larger than the agent allows. */
  | "TOO_LARGE"
  /** The configuration that was to be reloaded is broken. */
  | "CONFIGURATION"
  /** The socket can't be created. */
  | "LISTEN";

export class ControlError extends CodedError<ControlErrorCode> {
  override readonly name = "ControlError";
}
