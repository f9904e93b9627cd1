/** Follows a submitted build to its end and shows it; Ctrl-C stops the build. */
import type { JobEvent } from "#/gearman/client/client.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { CommandError, exitCodes } from "./exit.ts";
import type { Renderer } from "./render.ts";
import { onSignals } from "./signals.ts";

export interface FollowOptions {
  readonly renderer: Renderer;
  /**
   * Stops the build at its manager, or takes it out of the job server's queue.
   * @returns unreported: it has been handed to an agent that hasn't said yet which one it is
   */
  readonly stop: (
    manager: string | undefined,
    attempt: number,
  ) => Promise<"stopping" | "cancelled" | "unreported">;
}

/** The build may move while it is stopped: an agent that dies gives it back to the queue. */
const stopIntervalMs = 3000;

const codeByResult: Record<string, number> = {
  SUCCESS: exitCodes.success,
  FAILURE: exitCodes.failure,
  ABORTED: exitCodes.aborted,
  TIMED_OUT: exitCodes.timedOut,
};

/**
 * Shows a build until it ends. SIGINT and SIGTERM stop it; a second signal exits at once.
 * @returns the exit code
 * @throws CommandError noServer when the connection to the job server is lost
 */
export async function followBuild(events: AsyncIterable<JobEvent>, options: FollowOptions): Promise<number> {
  const follower = new Follower(options);
  using _signals = onSignals(["SIGINT", "SIGTERM"], () => follower.interrupt());
  using _follower = follower;
  try {
    for await (const event of until(events, follower.cancelled)) follower.take(event);
    return await follower.end();
  } catch (cause) {
    if (!(cause instanceof GearmanError)) throw cause;
    const text = `${cause.message}; the build may still be running`;
    throw new CommandError("noServer", text, { cause });
  }
}

class Follower implements Disposable {
  readonly #options: FollowOptions;
  readonly #cancelled = Promise.withResolvers<undefined>();
  #manager: string | undefined;
  #result: string | undefined;
  #reason: string | undefined;
  #cause: string | undefined;
  /** How much of the console has been shown, or left out, in bytes. */
  #offset = 0;
  #leftOut = 0;
  /** How to get the whole console. */
  #whole: string | undefined;
  #interrupted = false;
  #isCancelled = false;
  #attempts = 0;
  #stopping: Promise<void> | undefined;
  #stopTimer: NodeJS.Timeout | undefined;
  #over = false;
  /** What has been said about the stop. */
  #notice: string | undefined;

  constructor(options: FollowOptions) {
    this.#options = options;
  }

  /** Resolves when the build was taken out of the queue: gearmand then sends WORK_FAIL, geard nothing. */
  get cancelled(): Promise<undefined> {
    return this.#cancelled.promise;
  }

  take(event: JobEvent): void {
    if (event.type === "status") this.#showProgress(event.numerator, event.denominator);
    else if (event.type === "data" || event.type === "complete") this.#takeObject(parse(event.data));
    else if (event.type === "exception") {
      this.#result ??= "FAILURE";
      this.#reason = event.data.toString();
    }
  }

  /** @returns the exit code */
  async end(): Promise<number> {
    // gearmand sends WORK_FAIL before it answers the cancel.
    if (this.#result === undefined) await this.#stopping;
    if (this.#result === undefined && this.#isCancelled) {
      this.#result = "ABORTED";
      this.#reason = "cancelled while it was queued";
    }
    if (this.#leftOut > 0 && this.#whole !== undefined) {
      const text = `${this.#leftOut} bytes are not shown; the whole console: ${this.#whole}`;
      this.#options.renderer.show({ event: "notice", text });
    }
    const [result, reason, cause] = [this.#result, this.#reason, this.#cause];
    this.#options.renderer.show({
      event: "ended",
      ...(result !== undefined && { result }),
      ...(reason !== undefined && { reason }),
      ...(cause !== undefined && { cause }),
    });
    return result === undefined ? exitCodes.noResult : (codeByResult[result] ?? exitCodes.failure);
  }

  interrupt(): void {
    const { renderer } = this.#options;
    if (this.#interrupted) {
      renderer[Symbol.dispose]();
      process.exit(exitCodes.interrupted);
    }
    this.#interrupted = true;
    renderer.show({ event: "stopping", again: "press Ctrl-C again to leave without waiting" });
    this.#stop();
  }

  /** Tries until the build has ended. */
  #stop(): void {
    clearTimeout(this.#stopTimer);
    this.#stopping = this.#tryToStop();
  }

  /** Never rejects. */
  async #tryToStop(): Promise<void> {
    const manager = this.#manager;
    this.#attempts += 1;
    try {
      const outcome = await this.#options.stop(manager, this.#attempts);
      if (outcome === "cancelled") {
        this.#isCancelled = true;
        return this.#cancelled.resolve(undefined);
      }
      if (outcome === "unreported" && this.#manager === undefined)
        this.#say(
          "the build is running: it is stopped as soon as it reports where; see also `labgear stop --help`",
        );
    } catch (error) {
      this.#say(`cannot stop it yet: ${(error as Error).message}`);
    }
    // Another attempt is under way when the build has moved meanwhile.
    if (this.#manager === manager && !this.#over) {
      this.#stopTimer = setTimeout(() => this.#stop(), stopIntervalMs);
    }
  }

  #say(text: string): void {
    if (this.#over || this.#notice === text) return;
    this.#notice = text;
    this.#options.renderer.show({ event: "notice", text });
  }

  [Symbol.dispose](): void {
    this.#over = true;
    clearTimeout(this.#stopTimer);
  }

  #showProgress(numerator: number, denominator: number): void {
    const percent = Math.floor((100 * numerator) / denominator);
    if (percent >= 0 && percent <= 100) this.#options.renderer.show({ event: "progress", percent });
  }

  #takeObject(data: Record<string, unknown>): void {
    if (typeof data.output === "string") this.#showOutput(data.output, data.offset);
    else if (typeof data.manager === "string" && data.number !== undefined) this.#start(data, data.manager);
    if (typeof data.result === "string") this.#result = data.result;
    if (typeof data.reason === "string") this.#reason = data.reason;
    if (typeof data.cause === "string") this.#cause = data.cause;
  }

  /** An agent reports the build: the first one, or the one that it has moved to. */
  #start(data: Record<string, unknown>, manager: string): void {
    const isKnown = this.#manager === manager;
    this.#manager = manager;
    if (isKnown) return;
    const facts = pick(data, "name", "number", "manager", "node_name", "url");
    this.#whole = `\`labgear log ${data.name}#${data.number}\` on ${manager}, or ${data.url}/console`;
    this.#options.renderer.show({ event: "started", ...facts });
    if (this.#interrupted) this.#stop();
  }

  #showOutput(text: string, offset: unknown): void {
    const { renderer } = this.#options;
    const at = typeof offset === "number" ? offset : this.#offset;
    const missed = at - this.#offset;
    // A client that submits a running build's unique joins that build in the middle.
    const why = this.#offset === 0 ? "came before this" : "came too fast and are not shown here";
    if (missed > 0) renderer.show({ event: "notice", text: `${missed} bytes ${why}` });
    this.#leftOut += Math.max(0, missed);
    this.#offset = at + Buffer.byteLength(text);
    renderer.show({ event: "output", text });
  }
}

/** The events until their end, or until `over` resolves: with one reaction to it, where a race for each event would add one each. */
async function* until<T>(events: AsyncIterable<T>, over: Promise<undefined>): AsyncGenerator<T> {
  const iterator = events[Symbol.asyncIterator]();
  let isOver = false;
  let wake = () => {};
  void over.then(() => {
    isOver = true;
    wake();
  });
  while (!isOver) {
    const next = await new Promise<IteratorResult<T> | undefined>((resolve, reject) => {
      wake = () => resolve(undefined);
      iterator.next().then(resolve, reject);
    });
    if (!next || next.done) return;
    yield next.value;
  }
}

/** A data packet's object; empty for anything else, which another kind of worker may send. */
function parse(data: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(data.toString());
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function pick(data: Record<string, unknown>, ...keys: string[]): Record<string, unknown> {
  return Object.fromEntries(keys.filter((key) => key in data).map((key) => [key, data[key]]));
}
