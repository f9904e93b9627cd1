/** Flashes an image by a host command, and reads the board's console for its verdict. */
import type { JobWork } from "#/config/model.ts";
import { BoardFailure } from "#/devices/errors.ts";
import type { Verdict, VerdictReader } from "../harness/harness.ts";
import { junitReport } from "../harness/junit.ts";
import { newVerdictReader } from "../harness/reader.ts";
import type { HostEnding } from "../script/run.ts";
import { type BoardRun, type BoardVerdict, failed } from "./board.ts";
import { quiet, Tap } from "./tap.ts";

type Work = Extract<JobWork, { kind: "firmware" }>;

/** How long a crash may take to follow a pass and take it back, in milliseconds. */
const settling = 500;
/**
 * The port is open before the flashing begins, unless the command needs it. What the last image prints can't pass for this
 * one's: the verdict is read from `start` on, or from the restart that follows the flashing, or, for a board without a way
 * that is sure, from the end of the flashing.
 * @throws BoardFailure flash-failed, power-failed, unplugged
 */
export async function runFirmware(run: BoardRun, work: Work): Promise<BoardVerdict> {
  const { reservation, signal } = run;
  if (work.build !== undefined) {
    const problem = scriptProblem(await run.host(work.build, "build"));
    signal.throwIfAborted();
    if (problem !== undefined) return failed(`the image can't be made: ${problem}`);
  }
  const reader = newVerdictReader(work.verdict, work.start === undefined ? {} : { start: work.start });
  if (work.lend) {
    await using _ = await reservation.lend();
    await flash(run, work.flash);
  } else {
    // Also with nothing to match yet: the console shows what the board says while it is flashed.
    const taker = work.start === undefined ? { feed: () => {}, quiet: () => {} } : reader;
    await using tap = new Tap(run, taker);
    await tap.race(flash(run, work.flash));
  }
  if (work.start === undefined && reservation.canStartAnew) await reservation.startAnew(signal);
  const verdict = await listen(run, reader, work.timeout);
  return {
    passed: verdict.passed,
    reason: verdict.reason,
    ...(verdict.cause && { cause: verdict.cause }),
    ...(reader.cases.length > 0 && { junit: junitReport(reader.cases, "firmware") }),
  };
}

async function flash({ host, signal, reservation }: BoardRun, script: string): Promise<void> {
  const problem = scriptProblem(await host(script, "flash"));
  signal.throwIfAborted();
  reservation.lost.throwIfAborted();
  if (problem !== undefined) throw new BoardFailure("flash-failed", problem);
}

/** @returns undefined for a script that passed */
export function scriptProblem({ code, signal, oom }: HostEnding): string | undefined {
  if (code === 0) return undefined;
  if (oom) return "the script ran out of the memory that the job's limits allow";
  return signal ? `the script was ended by ${signal}` : `the script ended with exit code ${code}`;
}

/** Reads the console until the verdict, or until so many milliseconds have passed. */
async function listen(run: BoardRun, reader: VerdictReader, timeout: number): Promise<Verdict> {
  const { reservation, output } = run;
  const signal = AbortSignal.any([run.signal, reservation.lost]);
  let until = performance.now() + timeout;
  let settles = false;
  for (;;) {
    const left = until - performance.now();
    if (left <= 0) return reader.end();
    const bytes = await reservation.line.read(Math.min(left, quiet), signal).catch((error) => {
      throw signal.aborted ? signal.reason : error;
    });
    await output(bytes);
    if (bytes.length > 0) reader.feed(bytes);
    else reader.quiet();
    const { verdict } = reader;
    if (verdict && !verdict.passed) return verdict;
    if (verdict && !settles) {
      settles = true;
      until = Math.min(until, performance.now() + settling);
    }
  }
}
