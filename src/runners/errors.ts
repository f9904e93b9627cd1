/** What can go wrong in carrying out a job that is the box's fault, not the job's. */

export type RunnerErrorCode =
  /** The script couldn't be written: disk full, no permission. */
  | "SCRIPT"
  /** The interpreter that the script names isn't there, or can't be run. */
  | "INTERPRETER"
  /** The kernel refused to start it: environment too large, no more processes, no such directory. */
  | "START";

export class RunnerError extends Error {
  override readonly name = "RunnerError";
  readonly code: RunnerErrorCode;

  /** @param message one line: what is wrong, and what to do where that is known */
  constructor(code: RunnerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
