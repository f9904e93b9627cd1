/** Follows a submitted build to its end and shows it; Ctrl-C stops the build. */
import { ExchangeError } from "#/exchange/errors.ts";
import { dataObject, type JsonObject } from "#/exchange/message.ts";
import type { JobEvent } from "#/gearman/client/client.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { formatDuration } from "#/lib/units.ts";
import { CommandError, exitCodes } from "../exit.ts";
import { onSignals } from "../signals.ts";
import type { ShownConsole } from "./console.ts";
import type { BuildFacts, Renderer } from "./events.ts";

export interface FollowOptions {
  readonly renderer: Renderer;
  readonly console: ShownConsole;
  /**
   * Stops the build at its manager, or takes it out of the job server's queue.
   * @returns unreported: it has been handed to an agent that hasn't said yet which one it is
   */
  readonly stop: (
    manager: string | undefined,
    attempt: number,
  ) => Promise<"stopping" | "cancelled" | "unreported">;
  /** How long it may wait in the queue; absent: for ever. */
  readonly queueTimeoutMs?: number | undefined;
  /** Leaves the build, as a signal does. */
  readonly withdraw?: AbortSignal | undefined;
  /** Whether the job server passes data on: without it a build that ran can't be told from one that never began. */
  readonly receivesData?: boolean | undefined;
  /** Called with each object of the agent that has the build, before it is shown. */
  readonly onData?: (data: JsonObject) => void;
}

/** The build may move while it is stopped: an agent that dies gives it back to the queue. */
const stopIntervalMs = 3000;

/** How a followed build ended. */
export interface Ending extends BuildFacts {
  readonly result?: string;
  readonly reason?: string;
  readonly cause?: string;
  /** Why it is over without having run, or was given up by this side. */
  readonly left?: Leaving;
}

type Leaving = "interrupted" | "queue-timeout" | "withdrawn" | "cancelled elsewhere";

const codeByResult: Record<string, number> = {
  SUCCESS: exitCodes.success,
  FAILURE: exitCodes.failure,
  ABORTED: exitCodes.aborted,
  TIMED_OUT: exitCodes.timedOut,
};

export function showEnding(renderer: Renderer, { left: _, ...ending }: Ending): void {
  renderer.show({ event: "ended", ...ending });
}

export function exitCodeOf({ result, left }: Ending): number {
  if (left === "queue-timeout" && (result === undefined || result === "ABORTED")) return exitCodes.gaveUp;
  return result === undefined ? exitCodes.noResult : (codeByResult[result] ?? exitCodes.failure);
}

/**
 * Shows a build up to its end, which is the caller's to show. SIGINT and SIGTERM stop it; a second signal exits at once.
 * @throws CommandError noServer when the connection to the job server is lost
 */
export async function followBuild(events: AsyncIterable<JobEvent>, options: FollowOptions): Promise<Ending> {
  const follower = new Follower(options);
  using _signals = onSignals(["SIGINT", "SIGTERM"], () => follower.interrupt());
  using _follower = follower;
  try {
    for await (const event of until(events, follower.cancelled)) await follower.take(event);
    return await follower.end();
  } catch (cause) {
    if (!(cause instanceof GearmanError || cause instanceof ExchangeError)) throw cause;
    const text = `${cause.message}; the build may still be running`;
    throw new CommandError("noServer", text, { cause });
  }
}

/**
 * A build, as this side sees it:
 *
 *     queued ──first data──▶ running ──last packet──▶ ended
 *        └──cancelled──▶ ended
 *
 * Leaving it (a signal, or a queue that took too long) cancels or stops it, whichever its state allows.
 */
class Follower implements Disposable {
  readonly #options: FollowOptions;
  readonly #cancelled = Promise.withResolvers<undefined>();
  readonly #queueTimer: NodeJS.Timeout | undefined;
  /** From the first data on. */
  #facts: BuildFacts | undefined;
  #left: Leaving | undefined;
  #result: string | undefined;
  #reason: string | undefined;
  #cause: string | undefined;
  #isCancelled = false;
  #attempts = 0;
  #stopping: Promise<void> | undefined;
  #stopTimer: NodeJS.Timeout | undefined;
  #over = false;
  /** What has been said about the stop. */
  #notice: string | undefined;

  constructor(options: FollowOptions) {
    this.#options = options;
    const { queueTimeoutMs, withdraw } = options;
    if (queueTimeoutMs !== undefined)
      this.#queueTimer = setTimeout(() => this.#giveUp(queueTimeoutMs), queueTimeoutMs);
    withdraw?.addEventListener("abort", this.#withdraw);
  }

  /** Resolves when the build was taken out of the queue: gearmand then sends WORK_FAIL, geard nothing. */
  get cancelled(): Promise<undefined> {
    return this.#cancelled.promise;
  }

  async take(event: JobEvent): Promise<void> {
    if (event.type === "status") this.#showProgress(event.numerator, event.denominator);
    else if (event.type === "data" || event.type === "complete")
      await this.#takeObject(dataObject(event.data));
    else if (event.type === "exception") {
      this.#result ??= "FAILURE";
      this.#reason = event.data.toString();
    }
  }

  async end(): Promise<Ending> {
    // gearmand sends WORK_FAIL before it answers the cancel.
    if (this.#result === undefined) await this.#stopping;
    if (this.#result === undefined && this.#isCancelled) {
      this.#result = "ABORTED";
      this.#reason = "cancelled while it was queued";
    }
    if (this.#endedUnseen && this.#options.receivesData) {
      this.#left ??= "cancelled elsewhere";
      this.#reason =
        "it left the queue before a node began it: somebody cancelled it, or the job server dropped it";
    }
    const { name, number, manager, url } = this.#facts ?? {};
    const isWhole = await this.#options.console.finish();
    const { leftOut } = this.#options.console;
    const whole = `the whole console: \`labgear log ${name}#${number}\` on ${manager}, or ${url}/console`;
    if (leftOut > 0) this.#say(`${leftOut} bytes are not shown; ${whole}`);
    else if (!isWhole) this.#say(`the last lines may be missing here; ${whole}`);
    const [result, reason, cause] = [this.#result, this.#reason, this.#cause];
    return {
      ...(result !== undefined && { result }),
      ...(reason !== undefined && { reason }),
      ...(cause !== undefined && { cause }),
      ...this.#facts,
      ...(this.#left && { left: this.#left }),
    };
  }

  interrupt(): void {
    const { renderer } = this.#options;
    if (this.#left === "interrupted") {
      renderer[Symbol.dispose]();
      process.exit(exitCodes.interrupted);
    }
    renderer.show({ event: "stopping", again: "press Ctrl-C again to leave without waiting" });
    this.#leave("interrupted");
  }

  #giveUp(queueTimeoutMs: number): void {
    if (this.#facts || this.#left) return;
    this.#say(`no node took it within ${formatDuration(queueTimeoutMs)}: giving up`);
    this.#leave("queue-timeout");
  }

  readonly #withdraw = (): void => {
    if (!this.#left) this.#leave("withdrawn");
  };

  #leave(why: Leaving): void {
    this.#left = why;
    this.#options.console.hurry();
    if (!this.#stopping) this.#stop();
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
        this.#sayOnce(
          "the build is running: it is stopped as soon as it reports where; see also `labgear stop --help`",
        );
    } catch (error) {
      this.#sayOnce(`cannot stop it yet: ${(error as Error).message}`);
    }
    // Another attempt is under way when the build has moved meanwhile.
    if (this.#manager === manager && !this.#over) {
      this.#stopTimer = setTimeout(() => this.#stop(), stopIntervalMs);
    }
  }

  #sayOnce(text: string): void {
    if (this.#over || this.#notice === text) return;
    this.#notice = text;
    this.#say(text);
  }

  #say(text: string): void {
    this.#options.renderer.show({ event: "notice", text });
  }

  /** Agents say where a build runs, and why it ends. */
  get #endedUnseen(): boolean {
    return this.#facts === undefined && this.#result === undefined && this.#reason === undefined;
  }

  get #manager(): string | undefined {
    return this.#facts?.manager as string | undefined;
  }

  #showProgress(numerator: number, denominator: number): void {
    const percent = Math.floor((100 * numerator) / denominator);
    if (percent >= 0 && percent <= 100) this.#options.renderer.show({ event: "progress", percent });
  }

  async #takeObject(data: JsonObject): Promise<void> {
    if (typeof data.output === "string") {
      await this.#options.console.take(
        data.output,
        typeof data.offset === "number" ? data.offset : undefined,
      );
    } else if (typeof data.manager === "string" && data.number !== undefined) {
      this.#options.onData?.(data);
      // Once more, since the agent's line was lost: with it what the agent had sent last.
      if (this.#manager === data.manager && data.result === undefined && data.reason === undefined)
        this.#options.console.doubt();
      this.#start(data);
    }
    if (typeof data.result === "string") this.#result = data.result;
    if (typeof data.reason === "string") this.#reason = data.reason;
    if (typeof data.cause === "string") this.#cause = data.cause;
  }

  /** An agent reports the build: the first one, or the one that it has moved to. */
  #start(data: JsonObject): void {
    if (this.#manager === data.manager) return;
    this.#facts = pick(data, "name", "number", "manager", "node_name", "url");
    clearTimeout(this.#queueTimer);
    this.#options.renderer.show({ event: "started", ...this.#facts });
    if (this.#left) this.#stop();
  }

  [Symbol.dispose](): void {
    this.#over = true;
    clearTimeout(this.#stopTimer);
    clearTimeout(this.#queueTimer);
    this.#options.withdraw?.removeEventListener("abort", this.#withdraw);
  }
}

/** The events until their end, or until `over` resolves: with one reaction to it, where races would add one for each event. */
export async function* until<T>(events: AsyncIterable<T>, over: Promise<undefined>): AsyncGenerator<T> {
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

function pick(data: JsonObject, ...keys: string[]): JsonObject {
  return Object.fromEntries(keys.filter((key) => key in data).map((key) => [key, data[key]]));
}
