/** What one convention of firmware tests reports: a verdict, and the test cases on the way to it. */
import type { Cause } from "#/devices/errors.ts";

export interface TestCase {
  readonly suite: string;
  readonly name: string;
  /** Default: the suite. */
  readonly classname?: string;
  /** Seconds; 0 when the firmware doesn't report it. */
  readonly time: number;
  /** `error`: it started and never ended. */
  readonly status: "passed" | "failed" | "error" | "skipped";
  readonly message?: string;
  readonly details?: string;
}

export interface Verdict {
  readonly passed: boolean;
  /** One line. */
  readonly reason: string;
  /** Absent when the firmware itself reported the verdict. */
  readonly cause?: Cause;
}

/** Parses the output of one run. Crashes and reboots aren't its business. */
export interface Convention {
  /** @param line a whole line, without its end, escape sequences and log time stamp */
  line(line: string): Verdict | undefined;
  /** Takes output as it arrives, for conventions that don't wait for whole lines. A line end is always the last character. */
  text?(piece: string): Verdict | undefined;
  quiet?(): Verdict | undefined;
  /** What the run comes to if its last line stays as it is. Changes nothing: the line may go on. */
  unfinished?(line: string): Verdict | undefined;
  readonly cases: readonly TestCase[];
  /** Whether the run has printed anything of its own, so that a boot now cuts it off. */
  readonly begun: boolean;
  /** What is missing, for the verdict after the timeout. */
  readonly missing: string;
}

export function pass(reason: string): Verdict {
  return { passed: true, reason };
}

export function failure(reason: string, cause?: Cause): Verdict {
  return cause ? { passed: false, reason, cause } : { passed: false, reason };
}
