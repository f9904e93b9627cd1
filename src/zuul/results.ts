/** How a build's ending is told to Zuul: a result string or none, and the packet that ends the job. */

import type { EndingKind } from "#/builds/ending.ts";

/** What Zuul shows. With no result Zuul 2 runs the build again elsewhere. */
export type Result = "SUCCESS" | "FAILURE" | "ABORTED" | "TIMED_OUT";

const results: Record<EndingKind, Result | undefined> = {
  passed: "SUCCESS",
  failed: "FAILURE",
  stopped: "ABORTED",
  "timed-out": "TIMED_OUT",
  infrastructure: undefined,
  lost: undefined,
};

/**
 * The result string of an ending; undefined for one that is not the build's fault.
 * @param infrastructureResult sent in place of none, for Zuul older than 2.0, which would wait for ever
 */
export function resultOf(kind: EndingKind, infrastructureResult?: string): string | undefined {
  return results[kind] ?? infrastructureResult;
}
