/** Runs a job's steps one after the other, until one fails. */
import { setTimeout as delay } from "node:timers/promises";
import type { StepConfig } from "#/config/model.ts";
import { type Match, OutputMatcher } from "#/devices/consoles/matcher.ts";
import { shown } from "#/lib/text.ts";
import { formatDuration } from "#/lib/units.ts";
import {
  type BoardRun,
  type BoardVerdict,
  ConsoleReader,
  enter,
  get,
  type OutputListener,
  put,
  runDialogue,
  scriptProblem,
} from "./board.ts";

/** Why a step failed. */
type Problem = Pick<BoardVerdict, "reason" | "exitCode" | "cause">;

/**
 * The build's console shows everything the board prints, except around a `run` step: there it shows the command's exact output only.
 * @throws BoardFailure
 */
export async function runSteps(run: BoardRun, steps: readonly StepConfig[]): Promise<BoardVerdict> {
  const runner = new StepRunner(run);
  run.step("test");
  for (const [index, step] of steps.entries()) {
    run.progress((100 * index) / steps.length);
    const title = `step ${index + 1} of ${steps.length}, ${step.name ?? describe(step)}`;
    await run.note(title);
    const problem = await runner.run(step, index);
    run.signal.throwIfAborted();
    run.reservation.lost.throwIfAborted();
    if (problem) return { passed: false, ...problem, reason: `${title}: ${problem.reason}` };
  }
  return { passed: true, reason: `all ${steps.length} steps passed` };
}

function describe(step: StepConfig): string {
  switch (step.kind) {
    case "send":
      return `send ${shown(step.text)}`;
    case "expect":
      return `expect ${shown(step.pattern)}`;
    case "run":
      return `run ${shown(step.command)}`;
    case "sleep":
      return `sleep ${formatDuration(step.durationMs)}`;
    case "control":
      return `${step.line} ${step.value ? "on" : "off"}`;
    case "baud":
      return `baud ${step.baud}`;
    case "power":
      return `power ${step.action}`;
    case "put":
    case "get":
      return `${step.kind} ${shown(step.from)}`;
    default:
      return step.kind;
  }
}

class StepRunner {
  readonly #run: BoardRun;
  readonly #output = new StepOutput();
  /** Whether the console is at labgear's own prompt. Other steps may leave it. */
  #entered = false;
  /** Whether a step restarted the board, and nothing has been heard of it since. */
  #isRestarted = false;

  constructor(run: BoardRun) {
    this.#run = run;
  }

  /** @returns undefined when the step passed */
  async run(step: StepConfig, index: number): Promise<Problem | undefined> {
    switch (step.kind) {
      case "run":
        return this.#command(step.command, step.timeoutMs);
      case "login":
        return this.#enter(step.timeoutMs);
      case "put":
      case "get":
        return this.#transfer(step);
      default: {
        if (step.kind === "host" && step.lend) return await this.#lent(step, index);
        await using reader = new ConsoleReader(this.#run, this.#output);
        if (step.kind === "expect") {
          const problem = await this.#output.expect(step, reader);
          if (!problem) {
            this.#isRestarted = false;
            this.#run.step("test");
          }
          return problem;
        }
        return await reader.race(this.#act(step, index));
      }
    }
  }

  /** The script has the port to itself, as tools that flash through it need. */
  async #lent(step: Extract<StepConfig, { kind: "host" }>, index: number): Promise<Problem | undefined> {
    this.#entered = false;
    const { reservation, signal } = this.#run;
    await using _ = await reservation.lend(signal);
    return await this.#act(step, index);
  }

  async #act(
    step: Exclude<StepConfig, { kind: "run" | "login" | "put" | "get" | "expect" }>,
    index: number,
  ): Promise<Problem | undefined> {
    const { reservation, signal, host } = this.#run;
    const { writer } = reservation;
    const forget = () => this.#output.forget();
    if (["send", "power", "reset", "break", "baud"].includes(step.kind)) this.#entered = false;
    if (step.kind === "send") this.#isRestarted = false;
    switch (step.kind) {
      case "send":
        await writer.write(Buffer.from(step.enter ? `${step.text}\r` : step.text));
        return undefined;
      case "sleep":
        await delay(step.durationMs, undefined, { signal: AbortSignal.any([signal, reservation.lost]) });
        return undefined;
      case "control":
        await writer.setControl({ [step.line]: step.value });
        return undefined;
      case "break":
        await writer.sendBreak(step.durationMs);
        return undefined;
      case "baud":
        await writer.setBaud(step.baud);
        return undefined;
      case "power":
        if (step.action !== "off") this.#run.step("boot");
        await reservation.switchPower(step.action, signal, forget);
        this.#isRestarted = true;
        return undefined;
      case "reset":
        this.#run.step("boot");
        await reservation.reset(signal, forget);
        this.#isRestarted = true;
        return undefined;
      case "host": {
        const script = () => host(step.script, `step${index + 1}`);
        const reason = scriptProblem(await (step.lend ? script() : reservation.allowAbsence(script, signal)));
        return reason === undefined ? undefined : { reason };
      }
    }
  }

  async #enter(timeoutMs: number): Promise<undefined> {
    await enter(this.#run, timeoutMs, this.#isRestarted);
    this.#entered = true;
    this.#isRestarted = false;
  }

  async #command(command: string, timeoutMs: number): Promise<Problem | undefined> {
    if (!this.#entered) await this.#enter(this.#run.bootTimeoutMs);
    const { console } = this.#run.reservation;
    const { code } = await runDialogue(this.#run, console.run(command, { timeoutMs }));
    return code === 0 ? undefined : { reason: `it ended with exit code ${code}`, exitCode: code };
  }

  async #transfer(step: Extract<StepConfig, { kind: "put" | "get" }>): Promise<Problem | undefined> {
    if (!this.#entered) await this.#enter(this.#run.bootTimeoutMs);
    const reason = await (step.kind === "put" ? put : get)(this.#run, step);
    return reason === undefined ? undefined : { reason };
  }
}

/** The board's output over all steps. What no `expect` step has matched yet is kept for the next one. */
class StepOutput implements OutputListener {
  #matcher = new OutputMatcher();
  #match: Match | undefined;
  #received = false;

  /** The board is down: what it printed before says nothing about what it does next. */
  forget(): void {
    this.#matcher = new OutputMatcher();
  }

  feed(bytes: Uint8Array): void {
    this.#received = true;
    this.#match = this.#matcher.feed(bytes) ?? this.#match;
  }

  quiet(): void {
    this.#match = this.#matcher.quiet() ?? this.#match;
  }

  /** @returns undefined when the pattern matched */
  async expect(
    step: Extract<StepConfig, { kind: "expect" }>,
    reader: ConsoleReader,
  ): Promise<Problem | undefined> {
    this.#received = false;
    this.#match = this.#matcher.expect([step.pattern], step.fail === undefined ? [] : [step.fail]);
    await reader.until(() => this.#match !== undefined, step.timeoutMs);
    if (this.#match?.kind === "pattern") return undefined;
    if (this.#match) return { reason: `${shown(this.#match.text, 200)} matched the \`fail\` pattern` };
    const { lastLine } = this.#matcher;
    const missing = `${shown(step.pattern, 200)} didn't match within ${formatDuration(step.timeoutMs)}`;
    if (!this.#received && lastLine === "")
      return { reason: `${missing}: the board printed nothing`, cause: "silent" };
    return { reason: `${missing}; the last line was ${shown(lastLine, 200)}` };
  }
}
