/** Flashes an image with a host command, and reads the verdict from the board's console. */
import type { Answer, JobWork } from "#/config/model.ts";
import { type Match, OutputMatcher } from "#/devices/consoles/matcher.ts";
import { BoardFailure } from "#/devices/errors.ts";
import { Harness } from "../harness/harness.ts";
import {
  type BoardRun,
  type BoardVerdict,
  ConsoleReader,
  failed,
  type OutputListener,
  scriptProblem,
} from "./board.ts";

type Work = Extract<JobWork, { kind: "firmware" }>;

/**
 * The port is open before flashing begins, unless the flash command needs it, so early output isn't missed. Output of the previous
 * image never counts: the verdict is read from the `start` text on, or from the restart after flashing, or, for a board that can't
 * be restarted reliably, from the end of flashing.
 * @throws BoardFailure flash-failed, power-failed, unplugged
 */
export async function runFirmware(run: BoardRun, work: Work): Promise<BoardVerdict> {
  const { reservation, signal } = run;
  if (work.build !== undefined) {
    run.step("build");
    const problem = scriptProblem(await run.host(work.build, "build"));
    signal.throwIfAborted();
    if (problem !== undefined) return failed(`building the image failed: ${problem}`);
  }
  const harness = new Harness(work.verdict, work.start);
  run.step("flash");
  if (work.lend) {
    await using _ = await reservation.lend(signal);
    await flash(run, work.flash);
  } else {
    await using reader = new ConsoleReader(run, work.start === undefined ? undefined : harness);
    await reservation.allowAbsence(() => reader.race(flash(run, work.flash)), signal);
  }
  if (work.start === undefined && reservation.canStartAnew) {
    run.step("boot");
    await reservation.startAnew(signal);
  }
  run.step("test");
  await listen(run, harness, work);
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

/** Reads until there is a verdict that stays for a while. */
async function listen(run: BoardRun, harness: Harness, work: Work): Promise<void> {
  const answers = new Answers(work.answers);
  const until = performance.now() + work.timeoutMs;
  await using reader = new ConsoleReader(run, {
    feed(bytes) {
      harness.feed(bytes);
      answers.feed(bytes);
    },
    quiet() {
      harness.quiet();
      answers.quiet();
    },
  });
  while (!harness.isFinal) {
    const leftMs = Math.max(0, Math.ceil(until - performance.now()));
    if (!(await reader.until(() => harness.verdict !== undefined || answers.due !== undefined, leftMs)))
      return;
    if (answers.due !== undefined) {
      await run.reservation.writer.write(Buffer.from(answers.due));
      answers.next();
      continue;
    }
    const isUndone = () => harness.isFinal || harness.verdict === undefined;
    if (!(await reader.until(isUndone, work.settleMs))) return;
  }
}

/** Finds what to type, one answer after the other. */
class Answers implements OutputListener {
  readonly #matcher = new OutputMatcher();
  readonly #answers: readonly Answer[];
  #index = 0;
  #match: Match | undefined;

  constructor(answers: readonly Answer[]) {
    this.#answers = answers;
    this.#expect();
  }

  /** Undefined until its pattern has matched. */
  get due(): string | undefined {
    const answer = this.#match && this.#answers[this.#index];
    return answer && (answer.enter ? `${answer.text}\r` : answer.text);
  }

  next(): void {
    this.#index += 1;
    this.#expect();
  }

  feed(bytes: Uint8Array): void {
    this.#match = this.#matcher.feed(bytes) ?? this.#match;
  }

  quiet(): void {
    this.#match = this.#matcher.quiet() ?? this.#match;
  }

  #expect(): void {
    const answer = this.#answers[this.#index];
    this.#match = this.#matcher.expect(answer ? [answer.pattern] : []);
  }
}
