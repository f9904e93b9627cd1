/** Mistakes in the configuration: found in the data, placed in a file, reported together. */
import { CodedError } from "#/lib/errors.ts";

/** The keys that lead to an option; an entry of a list by its index: ["servers", "0", "tls"]. */
export type Path = readonly string[];

/** A mistake in the merged data, before it has a file and a line. */
export interface Finding {
  readonly path: Path;
  readonly message: string;
}

/** Makes the findings of one job or device; the path begins below it. */
export type At = (message: string, ...path: string[]) => Finding;

/** A mistake in a configuration file, at the place where it has to be corrected. */
export interface Problem {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  /** Counted from 1. */
  readonly column?: number;
  /** The path of the option, such as "jobs.unit-tests.timeout" or "servers[0]"; empty: the file as a whole. */
  readonly key: string;
  /** What was expected, what was found, and what to do. */
  readonly message: string;
}

/** @returns one line, `FILE:LINE: KEY: MESSAGE`, the form that editors and compilers use */
export function formatProblem(problem: Problem): string {
  const key = problem.key === "" ? "" : `${problem.key}: `;
  return `${problem.file}:${problem.line}: ${key}${problem.message}`;
}

export type ConfigErrorCode =
  /** The files contain mistakes: see `problems`. */
  | "INVALID"
  /** A file is missing, unreadable, too large, or not a file. */
  | "UNREADABLE";

export class ConfigError extends CodedError<ConfigErrorCode> {
  override readonly name = "ConfigError";
  /** Every mistake found, by file and line; empty unless the code is INVALID. */
  readonly problems: readonly Problem[];

  constructor(code: ConfigErrorCode, message: string, options: ErrorOptions & { problems?: Problem[] } = {}) {
    super(code, message, options);
    this.problems = options.problems ?? [];
  }

  /** The error for mistakes in the files, one line for each. */
  static invalid(problems: Problem[]): ConfigError {
    return new ConfigError("INVALID", problems.map(formatProblem).join("\n"), { problems });
  }
}
