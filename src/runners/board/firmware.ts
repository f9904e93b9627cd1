/** Flashes an image with a host command, and reads the verdict from the board's console. */
import type { JobWork } from "#/config/model.ts";
import { BoardFailure } from "#/devices/errors.ts";
import { Harness } from "../harness/harness.ts";
import { type BoardRun, type BoardVerdict, ConsoleReader, failed, scriptProblem } from "./board.ts";

type Work = Extract<JobWork, { kind: "firmware" }>;

/** A crash this soon after a pass turns it into a failure. */
const crashTimeoutMs = 500;

/**
 * The port is open before flashing begins, unless the flash command needs it, so early output isn't missed. Output of the previous
 * image never counts: the verdict is read from the `start` text on, or from the restart after flashing, or, for a board that can't
 * be restarted reliably, from the end of flashing.
 * @throws BoardFailure flash-failed, power-failed, unplugged
 */
export async function runFirmware(run: BoardRun, work: Work): Promise<BoardVerdict> {
  const { reservation, signal } = run;
  if (work.build !== undefined) {
    const problem = scriptProblem(await run.host(work.build, "build"));
    signal.throwIfAborted();
    if (problem !== undefined) return failed(`building the image failed: ${problem}`);
  }
  const harness = new Harness(work.verdict, work.start);
  if (work.lend) {
    await using _ = await reservation.lend();
    await flash(run, work.flash);
  } else {
    await using reader = new ConsoleReader(run, work.start === undefined ? undefined : harness);
    await reader.race(flash(run, work.flash));
  }
  if (work.start === undefined && reservation.canStartAnew) await reservation.startAnew(signal);
  await listen(run, harness, work.timeoutMs);
  const { passed, reason, cause } = harness.end();
  const { junit } = harness;
  return { passed, reason, ...(cause && { cause }), ...(junit !== undefined && { junit }) };
}

async function flash({ host, signal, reservation }: BoardRun, script: string): Promise<void> {
  const problem = scriptProblem(await host(script, "flash"));
  signal.throwIfAborted();
  reservation.lost.throwIfAborted();
  if (problem !== undefined) throw new BoardFailure("flash-failed", problem);
}

async function listen(run: BoardRun, harness: Harness, timeoutMs: number): Promise<void> {
  await using reader = new ConsoleReader(run, harness);
  await reader.until(() => harness.verdict !== undefined, timeoutMs);
  if (harness.verdict?.passed) await reader.until(() => harness.verdict?.passed === false, crashTimeoutMs);
}
