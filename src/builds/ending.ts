/** How a build can end. */

export type EndingKind =
  /** The job passed. */
  | "passed"
  /** The job ran and failed: exit code, failed step. */
  | "failed"
  /** Stopped remotely or by hand. */
  | "stopped"
  /** The job's timeout ran out. */
  | "timed-out"
  /** Not the job's fault: disk full, checkout unreachable, agent going down. */
  | "infrastructure"
  /** The agent died while it ran. */
  | "lost";

/**
 * Whether an ending is the job's own. Such an ending is delivered even if that takes long; after any other one, a build that is
 * handed out again runs again.
 */
export function isOwn({ kind }: Ending): boolean {
  return kind !== "infrastructure" && kind !== "lost";
}

export interface Ending {
  readonly kind: EndingKind;
  /** What happened, in a line for people. */
  readonly reason: string;
  readonly exitCode?: number;
  readonly signal?: string;
  /** Names what went wrong, where the kind doesn't. */
  readonly cause?: string;
}

const causes: Record<EndingKind, string> = {
  ...{ passed: "passed", failed: "failed", stopped: "stopped" },
  ...{ "timed-out": "timeout", infrastructure: "box", lost: "lost" },
};

/** One word for programs. */
export function causeOf({ kind, cause }: Ending): string {
  return cause ?? causes[kind];
}
