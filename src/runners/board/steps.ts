/** Carries out a job of steps, one after the other, until one fails. */
import { setTimeout as delay } from "node:timers/promises";
import type { StepConfig } from "#/config/model.ts";
import type { BoardRun, BoardVerdict } from "./board.ts";
import { Expectation } from "./expectation.ts";
import { get, put } from "./files.ts";
import { scriptProblem } from "./firmware.ts";
import { hooks } from "./hooks.ts";
import { Tap } from "./tap.ts";

/** Why a step failed. */
type Problem = Pick<BoardVerdict, "reason" | "exitCode" | "cause">;

/**
 * All that the board says goes to the build's console, but what a `run` step prints goes there exact and alone.
 * @throws BoardFailure
 */
export async function runSteps(run: BoardRun, steps: readonly StepConfig[]): Promise<BoardVerdict> {
  const runner = new StepRunner(run);
  for (const [index, step] of steps.entries()) {
    run.progress((100 * index) / steps.length);
    const title = `step ${index + 1} of ${steps.length}, ${step.name ?? describe(step)}`;
    await run.note(title);
    const problem = await runner.carryOut(step, index);
    run.signal.throwIfAborted();
    if (problem) return { passed: false, ...problem, reason: `${title}: ${problem.reason}` };
  }
  return { passed: true, reason: `all ${steps.length} steps passed` };
}

/** The step in a few words, for the console. */
function describe(step: StepConfig): string {
  switch (step.kind) {
    case "send":
      return `send ${short(step.text)}`;
    case "expect":
      return `expect ${short(step.pattern)}`;
    case "run":
      return `run ${short(step.command)}`;
    case "sleep":
      return `sleep ${step.milliseconds / 1000} s`;
    case "control":
      return `${step.line} ${step.value ? "on" : "off"}`;
    case "power":
      return `power ${step.action}`;
    case "put":
    case "get":
      return `${step.kind} ${short(step.from)}`;
    default:
      return step.kind;
  }
}

function short(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}

class StepRunner {
  readonly #run: BoardRun;
  readonly #expectation = new Expectation();
  /** The console's prompt is ours: what is sent besides may take it away. */
  #entered = false;

  constructor(run: BoardRun) {
    this.#run = run;
  }

  /** @returns undefined when it passed */
  async carryOut(step: StepConfig, index: number): Promise<Problem | undefined> {
    switch (step.kind) {
      case "run":
        return this.#command(step.command, step.timeout);
      case "login":
        return this.#enter(step.timeout);
      case "put":
      case "get":
        return this.#transfer(step);
      default: {
        // Whatever is done meanwhile, what the board says is read.
        await using tap = new Tap(this.#run, this.#expectation);
        return await tap.race(this.#act(step, index));
      }
    }
  }

  async #act(
    step: Exclude<StepConfig, { kind: "run" | "login" | "put" | "get" }>,
    index: number,
  ): Promise<Problem | undefined> {
    const { reservation, signal, host } = this.#run;
    if (["send", "power", "reset", "break"].includes(step.kind)) this.#entered = false;
    switch (step.kind) {
      case "send":
        await reservation.writer.write(Buffer.from(step.enter ? `${step.text}\r` : step.text));
        return undefined;
      case "expect":
        return this.#expectation.wait(step, AbortSignal.any([signal, reservation.lost]));
      case "sleep":
        await delay(step.milliseconds, undefined, { signal: AbortSignal.any([signal, reservation.lost]) });
        return undefined;
      case "control":
        await reservation.writer.setControl({ [step.line]: step.value });
        return undefined;
      case "break":
        await reservation.writer.sendBreak(step.milliseconds);
        return undefined;
      case "power":
        await reservation.switchPower(step.action, signal);
        return undefined;
      case "reset":
        await reservation.reset(signal);
        return undefined;
      case "host": {
        const reason = scriptProblem(await host(step.script, `step${index + 1}`));
        return reason === undefined ? undefined : { reason };
      }
    }
  }

  async #enter(timeout: number): Promise<undefined> {
    const { reservation } = this.#run;
    await reservation.run(reservation.console.enter(timeout), hooks(this.#run));
    this.#entered = true;
  }

  async #command(command: string, timeout: number): Promise<Problem | undefined> {
    const { reservation, bootTimeout } = this.#run;
    if (!this.#entered) await this.#enter(bootTimeout);
    const { code } = await reservation.run(reservation.console.run(command, { timeout }), hooks(this.#run));
    return code === 0 ? undefined : { reason: `it ended with exit code ${code}`, exitCode: code };
  }

  async #transfer(step: Extract<StepConfig, { kind: "put" | "get" }>): Promise<Problem | undefined> {
    if (!this.#entered) await this.#enter(this.#run.bootTimeout);
    const reason = await (step.kind === "put" ? put : get)(this.#run, step);
    return reason === undefined ? undefined : { reason };
  }
}
