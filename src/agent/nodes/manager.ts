/** The manager: answers `stop:MANAGER` and `set_description:MANAGER` on a connection of its own, also while every executor is busy. */
import type { BuildStore, Selector } from "#/builds/store.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { type Job, logWorkerEvents, Worker, type WorkerCounts } from "#/gearman/worker/worker.ts";
import type { Log } from "#/lib/log.ts";
import { parseDescriptionArgument, parseStopArgument } from "#/zuul/arguments.ts";
import { managerFunctions, parseFunction } from "#/zuul/functions.ts";
import { Twins } from "./twins.ts";

/** A page of HTML, not a full disk. */
const maxDescriptionChars = 64 * 1024;

export interface ManagerOptions {
  readonly name: string;
  readonly servers: readonly ServerAddress[];
  readonly store: BuildStore;
  readonly counts: WorkerCounts;
  readonly log: Log;
}

export class Manager implements AsyncDisposable {
  readonly worker: Worker;
  readonly twins: Twins;
  readonly #store: BuildStore;
  readonly #log: Log;

  constructor(options: ManagerOptions) {
    this.#store = options.store;
    this.#log = options.log.child({ manager: options.name });
    const logged = logWorkerEvents(this.#log, options.counts);
    this.twins = new Twins(options.name, options.servers, this.#log);
    this.worker = new Worker({
      servers: options.servers,
      clientId: this.twins.clientId,
      onJob: (job) => this.#answer(job),
      onEvent: (event) => {
        logged(event);
        if (event.type === "up") void this.twins.look(event.server);
      },
    });
    this.worker.setFunctions(managerFunctions(options.name));
  }

  setServers(servers: readonly ServerAddress[]): void {
    this.twins.setServers(servers);
    this.worker.setServers(servers);
  }

  async #answer(job: Job): Promise<void> {
    try {
      const asked = parseFunction(job.function);
      const done = asked?.kind === "stop" ? await this.#stop(job) : await this.#describe(job);
      if (done) return job.complete();
      this.#log.warn({ function: job.function }, "there is no such build here");
    } catch (error) {
      this.#log.warn({ function: job.function }, (error as Error).message);
    }
    job.fail();
  }

  /** True as soon as the stop is under way, also for one that was under way before. */
  async #stop(job: Job): Promise<boolean> {
    const wanted = parseStopArgument(job.argument);
    await this.#refuseOfTwins(job, wanted);
    const running = this.#store.runningOf(wanted);
    const builds = running.filter(({ state }) => state.phase !== "ended");
    for (const build of builds) {
      const { uuid, number } = build.record;
      this.#log.info({ job: build.record.job, number, uuid }, `${build.title} is stopped by ${job.function}`);
      build.stop({ kind: "stopped", reason: "stopped from afar" });
    }
    return builds.length > 0;
  }

  async #describe(job: Job): Promise<boolean> {
    const { build, html } = parseDescriptionArgument(job.argument);
    if (html.length > maxDescriptionChars)
      throw new RangeError(`a description of ${html.length} characters is refused`);
    await this.#refuseOfTwins(job, build);
    return this.#store.describe(build, html);
  }

  /** @throws Error when another agent may have a build of that number, too: a uuid is only one build's */
  async #refuseOfTwins({ server }: Job, wanted: Selector): Promise<void> {
    if (!("job" in wanted)) return;
    await this.twins.look(server);
    if (!this.twins.isAt(server)) return;
    const title = `${wanted.job}#${wanted.number}`;
    throw new Error(
      `refused, since another agent has this one's name and may have a ${title}, too: name the build by its uuid`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.twins[Symbol.asyncDispose]();
    await this.worker[Symbol.asyncDispose]();
  }
}
