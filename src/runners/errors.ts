/** What can go wrong when a job runs that is the box's fault, not the job's. */
import { CodedError } from "#/lib/errors.ts";

export type RunnerErrorCode =
  /** The script couldn't be written: disk full, no permission. */
  | "SCRIPT"
  /** The script's interpreter is missing, or can't be run. */
  | "INTERPRETER"
  /** The kernel refused to start it: environment too large, no more processes, no such directory. */
  | "START";

export class RunnerError extends CodedError<RunnerErrorCode> {
  override readonly name = "RunnerError";
}
