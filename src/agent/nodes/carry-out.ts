/** The frame around a build's work: its timeout, and what an error of the box or of a board means for it. */
import type { Build } from "#/builds/build.ts";
import type { Ending } from "#/builds/ending.ts";
import { BuildError } from "#/builds/errors.ts";
import type { JobConfig } from "#/config/model.ts";
import { BoardFailure, inWords, meaningOf } from "#/devices/errors.ts";
import type { NodeContext } from "./context.ts";

/**
 * Carries out one build on a node, to its end or until the build's signal is aborted.
 * @param parameters as the client sent them, nothing masked
 * @returns how the work ended; a stop that was asked for counts more, see Build.end()
 */
export type CarryOut = (
  build: Build,
  job: JobConfig,
  parameters: ReadonlyMap<string, string>,
) => Promise<Ending>;

/** Does the work with the job's timeout over it. Never rejects: an error becomes the ending that it means. */
export async function carryOut(
  build: Build,
  job: JobConfig,
  context: NodeContext,
  work: () => Promise<Ending>,
): Promise<Ending> {
  const timeout = setTimeout(() => {
    build.stop({ kind: "timed-out", reason: `the job's timeout of ${job.timeout / 1000} s ran out` });
  }, job.timeout);
  try {
    return await work();
  } catch (error) {
    // Work that hears the stop may reject with the signal's reason, which is no error.
    if (!(error instanceof Error)) return { kind: "stopped", reason: "the job was stopped" };
    const trouble = context.troubleOf(error);
    if (trouble) context.onTrouble(trouble);
    const ending = endingOf(error, trouble);
    await build.console?.note(ending.reason).catch(() => {});
    return ending;
  } finally {
    clearTimeout(timeout);
  }
}

function endingOf(error: Error, trouble: string | undefined): Ending {
  if (trouble) return { kind: "infrastructure", reason: trouble };
  const reason = error.message.split("\n", 1)[0] ?? "";
  if (error instanceof BoardFailure) return boardEnding(error);
  // A refused checkout is the change's own fault, and running it again elsewhere would end the same way.
  const refused = error instanceof BuildError && error.code === "CHECKOUT_REFUSED";
  return { kind: refused ? "failed" : "infrastructure", reason };
}

/** How a build ends by what went wrong with its board. */
export function boardEnding(error: BoardFailure): Ending {
  const kind = meaningOf(error.reason) === "failure" ? "failed" : "infrastructure";
  return { kind, reason: inWords(error), cause: error.reason };
}
