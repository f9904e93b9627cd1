/** What can go wrong with the box we run on. */
import { CodedError } from "#/lib/errors.ts";

export type HostErrorCode =
  /** The kernel refused something about control groups. */
  | "CGROUP"
  /** Another living agent has our control group. */
  | "BUSY"
  /** Another living agent uses the same state directory. */
  | "LOCKED"
  /** The state directory can't be created or locked. */
  | "UNUSABLE"
  /** The native addon for serial ports can't be loaded. */
  | "ADDON";

export class HostError extends CodedError<HostErrorCode> {
  override readonly name = "HostError";
}
