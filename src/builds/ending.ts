/** How a build can end, and why it was asked to. */

export type EndingKind =
  /** The job passed. */
  | "passed"
  /** The job ran and failed: exit code, failed step. */
  | "failed"
  /** Stopped from afar or by hand. */
  | "stopped"
  /** The job's timeout ran out. */
  | "timed-out"
  /** Not the job's fault: disk full, checkout unreachable, agent going down. */
  | "infrastructure"
  /** The agent died under it. */
  | "lost";

/**
 * True for an ending that is the job's own, and so is told though it takes long: after any other, a build that is handed out
 * again is to be run again.
 */
export function isOwn({ kind }: Ending): boolean {
  return kind !== "infrastructure" && kind !== "lost";
}

export interface Ending {
  readonly kind: EndingKind;
  /** One line for people: what happened. */
  readonly reason: string;
  readonly exitCode?: number;
  readonly signal?: string;
  /** The named cause of what went wrong with a board. */
  readonly cause?: string;
}
