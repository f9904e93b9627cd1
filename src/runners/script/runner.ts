/** How the carrying out of a job ends, whatever the job is. */
import type { FoundProcess } from "#/host/proc.ts";

/** A passed, failed and stopped run have this one shape; what is the box's fault is thrown as a RunnerError. */
export interface HostEnding {
  /** The script's exit code; null when a signal ended it, or when it was stopped before it began. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The kernel killed a process because the memory limit was reached. */
  readonly oom: boolean;
  /** It was told to stop before the script had ended. */
  readonly stopped: boolean;
  /** Alive when the script had ended, or when the grace had; then killed. */
  readonly leftovers: readonly FoundProcess[];
  /** Alive even after the kill. */
  readonly survivors: readonly FoundProcess[];
  /** One line each. */
  readonly warnings: readonly string[];
}

/** Takes output as it comes; the bytes change once it is done. What it returns is awaited before more is read; what it throws ends the run and is passed on. */
export type Output = (chunk: Buffer) => void | Promise<void>;
