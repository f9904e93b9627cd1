/** What can be wrong with the configuration and the state store. */
import { CodedError } from "#/lib/errors.ts";

/** One mistake in a configuration file, at the place where a person would mend it. */
export interface Problem {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  /** Counted from 1. */
  readonly column?: number;
  /** The path of the option, such as "jobs.unit-tests.timeout" or "servers[0]"; empty: the file as a whole. */
  readonly key: string;
  /** What was expected and what was found. */
  readonly message: string;
}

/** @returns one line, `FILE:LINE: KEY: MESSAGE`, as editors and compilers have it */
export function formatProblem(problem: Problem): string {
  const key = problem.key === "" ? "" : `${problem.key}: `;
  return `${problem.file}:${problem.line}: ${key}${problem.message}`;
}

export type ConfigErrorCode =
  /** The files were read, and what they say can't be used: see `problems`. */
  | "INVALID"
  /** A file is missing, may not be read, is too large or is no file. */
  | "UNREADABLE";

export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly code: ConfigErrorCode;
  /** Every mistake found, by file and line; empty unless the code is INVALID. */
  readonly problems: readonly Problem[];

  /** @param message one line: what is wrong, and what to do */
  constructor(code: ConfigErrorCode, message: string, options: ErrorOptions & { problems?: Problem[] } = {}) {
    super(message, options);
    this.code = code;
    this.problems = options.problems ?? [];
  }

  /** The error for mistakes in the files; its message has a line for each of them. */
  static invalid(problems: Problem[]): ConfigError {
    return new ConfigError("INVALID", problems.map(formatProblem).join("\n"), { problems });
  }
}

export type StoreErrorCode =
  /** The disk, or the quota, is full. */
  | "FULL"
  /** The directory or the file can't be written. */
  | "UNWRITABLE"
  /** The file can't be read. */
  | "UNREADABLE";

export class StoreError extends CodedError<StoreErrorCode> {
  override readonly name = "StoreError";
}
