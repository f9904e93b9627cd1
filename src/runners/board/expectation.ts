/** What an `expect` step waits for, in all that the board says in the time of a build. */
import type { StepConfig } from "#/config/model.ts";
import { type Match, OutputMatcher } from "#/devices/consoles/matcher.ts";
import type { Cause } from "#/devices/errors.ts";
import type { Taker } from "./tap.ts";

type Expect = Extract<StepConfig, { kind: "expect" }>;

/** Output that no step has waited for yet is kept for the next one. */
export class Expectation implements Taker {
  readonly #matcher = new OutputMatcher();
  #found: ((match: Match) => void) | undefined;
  #heard = false;

  feed(bytes: Uint8Array): void {
    this.#heard = true;
    this.#tell(this.#matcher.feed(bytes));
  }

  quiet(): void {
    this.#tell(this.#matcher.quiet());
  }

  /**
   * @returns undefined when the pattern came; else why the step failed
   * @throws the signal's reason
   */
  async wait(step: Expect, signal: AbortSignal): Promise<{ reason: string; cause?: Cause } | undefined> {
    this.#heard = false;
    const match = this.#matcher.expect(step.pattern, step.fail) ?? (await this.#coming(step.timeout, signal));
    if (match?.kind === "pattern") return undefined;
    if (match) return { reason: `${quoted(match.text)} came, which is a failure` };
    const { lastLine } = this.#matcher;
    const within = `${quoted(step.pattern)} didn't come within ${step.timeout / 1000} s`;
    if (!this.#heard && lastLine === "")
      return { reason: `${within}: the board said nothing`, cause: "silent" };
    return { reason: `${within}; the last line was ${quoted(lastLine)}` };
  }

  #coming(timeout: number, signal: AbortSignal): Promise<Match | undefined> {
    return new Promise((resolve, reject) => {
      const stop = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
        this.#found = undefined;
      };
      const onAbort = () => {
        stop();
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        stop();
        resolve(undefined);
      }, timeout);
      if (signal.aborted) return onAbort();
      signal.addEventListener("abort", onAbort);
      this.#found = (match) => {
        stop();
        resolve(match);
      };
    });
  }

  #tell(match: Match | undefined): void {
    if (match) this.#found?.(match);
  }
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
