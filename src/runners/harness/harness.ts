/** What is read out of a firmware's output: a verdict, and the test cases on the way to it. */
import type { Cause } from "#/devices/errors.ts";

export interface TestCase {
  readonly suite: string;
  readonly name: string;
  /** Seconds; 0 where the firmware doesn't say. */
  readonly time: number;
  /** `error`: it began, and its end never came. */
  readonly status: "passed" | "failed" | "error" | "skipped";
  readonly message?: string;
  readonly details?: string;
}

export interface Verdict {
  readonly passed: boolean;
  /** One line. */
  readonly reason: string;
  /** Absent: the firmware itself said so. */
  readonly cause?: Cause;
}

/**
 * Reads one run of a firmware, from the bytes that come after it was flashed. Time is the caller's: when a verdict is there, it goes
 * on feeding for a moment, since a pass is taken back by a crash, a reboot or a contradiction that follows it; a failure is final.
 * When the time is up without a verdict, it calls end().
 */
export interface VerdictReader {
  feed(bytes: Uint8Array): void;
  /** Nothing came for a while: a pattern for a line's end may match at what has come of it. */
  quiet(): void;
  /** Undefined until the firmware has said it. A pass may still become a failure, never the other way round. */
  readonly verdict: Verdict | undefined;
  /** Those known so far; the ones that never ended are `error`s. */
  readonly cases: readonly TestCase[];
  /** No more output will be read. @returns the verdict, verdict-missing where none came */
  end(): Verdict;
}

/** One convention of firmware tests: what it says, and nothing of crashes or reboots. */
export interface Convention {
  /**
   * A whole line, without its end and escape sequences.
   * @returns a verdict that it gives
   */
  line(line: string): Verdict | undefined;
  /** Text as it comes, in pieces that have at most one line end, their last character; for conventions that don't wait for it. */
  text?(piece: string): Verdict | undefined;
  quiet?(): Verdict | undefined;
  readonly cases: readonly TestCase[];
  /** Whether anything of a run was seen, so that a boot now means that it was cut off. */
  readonly begun: boolean;
  /** What is missing, for the verdict when the time is up. */
  readonly missing: string;
}

export function pass(reason: string): Verdict {
  return { passed: true, reason };
}

export function failure(reason: string, cause?: Cause): Verdict {
  return cause ? { passed: false, reason, cause } : { passed: false, reason };
}
