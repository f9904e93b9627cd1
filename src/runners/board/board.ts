/** What a runner on a board works with, and what it comes to. */

import type { Sink, Source } from "#/devices/consoles/console.ts";
import type { Cause } from "#/devices/errors.ts";
import type { Outcome, Reservation } from "#/devices/reservation.ts";
import type { HostEnding } from "../script/run.ts";

export interface BoardRun {
  readonly reservation: Reservation;
  /** Milliseconds from power or reset to the prompt. */
  readonly bootTimeout: number;
  /** Aborted when the build is to stop. */
  readonly signal: AbortSignal;
  /** For the build's console, in order; awaited before more is read. */
  readonly output: (bytes: Uint8Array) => Promise<void>;
  /** A line of ours among it. */
  readonly note: (text: string) => Promise<void>;
  /** Percent. */
  readonly progress: (percent: number) => void;
  /** Runs a script on the host, in the workspace, its output on the console. */
  readonly host: (script: string, name: string) => Promise<HostEnding>;
  /** Files of the workspace, which a job could have made links of. */
  readonly files: WorkspaceFiles;
}

/** What can't be opened is answered with one line that says why: the job is wrong then, not the box. */
export interface WorkspaceFiles {
  source(path: string): Promise<(Source & AsyncDisposable) | string>;
  sink(path: string): Promise<(Sink & Disposable) | string>;
}

/** The job's own verdict. What is the board's fault is thrown as a BoardFailure. */
export interface BoardVerdict {
  readonly passed: boolean;
  readonly reason: string;
  readonly exitCode?: number;
  readonly cause?: Cause;
  /** A JUnit report of the test cases that were seen. */
  readonly junit?: string;
  /** Set when the board is left in a state that nobody knows. */
  readonly doubt?: string;
}

/** A job that is wrong about the board or the workspace. */
export function failed(reason: string): BoardVerdict {
  return { passed: false, reason };
}

/** What a verdict says of the board. */
export function outcomeOf({ passed, doubt }: BoardVerdict): Outcome {
  return doubt === undefined ? { kind: "well", passed } : { kind: "doubtful", reason: doubt };
}
