/** Runs a script on the board, over its console, with files before and after. */
import type { JobWork } from "#/config/model.ts";
import { type BoardRun, type BoardVerdict, failed, get, put, runDialogue } from "./board.ts";

/**
 * The script's exit code is the verdict. Files are fetched however the script ended.
 * @throws BoardFailure
 */
export async function runShell(
  run: BoardRun,
  work: Extract<JobWork, { kind: "shell" }>,
): Promise<BoardVerdict> {
  const { console } = run.reservation;
  await runDialogue(run, console.enter(run.bootTimeoutMs));
  for (const file of work.put) {
    const problem = await put(run, file);
    if (problem !== undefined) return failed(problem);
  }
  // Only the job's timeout applies, by the signal.
  const timeoutMs = Number.POSITIVE_INFINITY;
  const { code, complete } = await runDialogue(run, console.run(work.script, { timeoutMs }));
  if (!complete) await run.note("the output is incomplete: bytes were lost on the line");
  let problem: string | undefined;
  for (const file of work.get) problem = (await get(run, file)) ?? problem;
  if (code !== 0) return { ...failed(`the script ended with exit code ${code}`), exitCode: code };
  return problem === undefined ? { passed: true, reason: "the script passed" } : failed(problem);
}
