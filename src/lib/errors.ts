/** The base of every error that names its cause: each room has a class of its own with its own codes. */
export abstract class CodedError<Code extends string> extends Error {
  readonly code: Code;

  /** @param message one line: what is wrong, and what to do about it where that is known */
  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Whether a system call has failed, such as one on a file; other errors of Node are bugs. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error;
}

/** @returns the errno name of a failed system call, such as "ENOENT"; the message where there is none */
export function reason(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return error instanceof Error ? error.message : String(error);
}
