/** The manager: answers `stop:MANAGER` and `set_description:MANAGER` on a connection of its own, also while every executor is busy. */
import type { BuildStore } from "#/builds/store.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { logWorkerEvents } from "#/gearman/worker/event-log.ts";
import { type Job, Worker } from "#/gearman/worker/worker.ts";
import type { Log } from "#/lib/log.ts";
import { parseDescriptionArgument, parseStopArgument } from "#/zuul/arguments.ts";
import { managerFunctions, parseFunction } from "#/zuul/functions.ts";

/** A page of HTML, not a full disk. */
const maxDescriptionChars = 64 * 1024;

export class Manager implements AsyncDisposable {
  readonly worker: Worker;
  readonly #store: BuildStore;
  readonly #log: Log;
  #reconnects = 0;

  constructor(options: { name: string; servers: readonly ServerAddress[]; store: BuildStore; log: Log }) {
    this.#store = options.store;
    this.#log = options.log.child({ manager: options.name });
    const logEvent = logWorkerEvents(this.#log);
    const known = new Set<string>();
    this.worker = new Worker({
      servers: options.servers,
      clientId: `${options.name}/manager`,
      onJob: (job) => this.#answer(job),
      onEvent: (event) => {
        if (event.type === "up" && known.has(event.server)) this.#reconnects += 1;
        if (event.type === "up") known.add(event.server);
        logEvent(event);
      },
    });
    this.worker.setFunctions(managerFunctions(options.name));
  }

  /** Since the agent started; stands for the whole box, whose executors have connections of their own. */
  get reconnects(): number {
    return this.#reconnects;
  }

  async #answer(job: Job): Promise<void> {
    try {
      const asked = parseFunction(job.function);
      const done = asked?.kind === "stop" ? this.#stop(job) : await this.#describe(job);
      if (done) return job.complete();
      this.#log.warn({ function: job.function }, "there is no such build here");
    } catch (error) {
      this.#log.warn({ function: job.function }, (error as Error).message);
    }
    job.fail();
  }

  /** True as soon as the stop is under way, also for one that was under way before. */
  #stop(job: Job): boolean {
    const build = this.#store.findRunning(parseStopArgument(job.argument));
    if (!build || build.state.phase === "ended") return false;
    const { uuid, number } = build.record;
    this.#log.info({ job: build.record.job, number, uuid }, `${build.title} is stopped by ${job.function}`);
    build.stop({ kind: "stopped", reason: "stopped from afar" });
    return true;
  }

  async #describe(job: Job): Promise<boolean> {
    const { build, html } = parseDescriptionArgument(job.argument);
    if (html.length > maxDescriptionChars)
      throw new RangeError(`a description of ${html.length} characters is refused`);
    return this.#store.describe(build, html);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.worker[Symbol.asyncDispose]();
  }
}
