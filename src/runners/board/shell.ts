/** Runs a script on the board, over its console, with files before and after. */
import type { JobWork } from "#/config/model.ts";
import { type BoardRun, type BoardVerdict, failed } from "./board.ts";
import { get, put } from "./files.ts";
import { hooks } from "./hooks.ts";

/**
 * The script's exit code is the verdict; files are fetched however it ended.
 * @throws BoardFailure
 */
export async function runShell(
  run: BoardRun,
  work: Extract<JobWork, { kind: "shell" }>,
): Promise<BoardVerdict> {
  const { reservation, bootTimeout } = run;
  await reservation.run(reservation.console.enter(bootTimeout), hooks(run));
  for (const file of work.put) {
    const problem = await put(run, file);
    if (problem !== undefined) return failed(problem);
  }
  // The job's own timeout stops the build; there is none besides.
  const options = { timeout: Number.POSITIVE_INFINITY };
  const { code, complete } = await reservation.run(reservation.console.run(work.script, options), hooks(run));
  if (!complete) await run.note("the output is incomplete: bytes were lost on the line");
  let problem: string | undefined;
  for (const file of work.get) problem = (await get(run, file)) ?? problem;
  if (code !== 0) return { passed: false, reason: `the script ended with exit code ${code}`, exitCode: code };
  return problem === undefined ? { passed: true, reason: "the script passed" } : failed(problem);
}
