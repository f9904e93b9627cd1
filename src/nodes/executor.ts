/** An executor: one slot of a node, with a Gearman connection of its own, that runs one build at a time. */
import type { Build } from "#/builds/build.ts";
import type { Ending } from "#/builds/ending.ts";
import { maskSecrets } from "#/builds/record.ts";
import type { ServerAddress } from "#/gearman/dial.ts";
import { type Job, Worker } from "#/gearman/worker.ts";
import { parseBuildArgument } from "#/zuul/arguments.ts";
import { parseFunction } from "#/zuul/functions.ts";
import { resultOf } from "#/zuul/results.ts";
import type { NodeContext } from "./context.ts";
import { runHostBuild } from "./host-build.ts";
import { type Log, workerEventLogger } from "./log.ts";
import { estimateProgress } from "./progress.ts";
import { Reporter } from "./reporter.ts";
import { streamConsole } from "./stream.ts";

/**
 *     idle ──assigned──▶ busy ──told the client──▶ idle
 */
export type ExecutorState = { readonly kind: "idle" } | { readonly kind: "busy"; readonly build: Build };

export interface ExecutorOptions {
  /** From 0. */
  readonly index: number;
  readonly node: { readonly name: string; readonly labels: () => readonly string[] };
  readonly servers: readonly ServerAddress[];
  readonly context: NodeContext;
  /** A build ended whose parameters ask to take the node out of service. */
  readonly onOffline: (build: Build) => void;
}

export class Executor implements AsyncDisposable {
  readonly index: number;
  readonly worker: Worker;
  readonly #options: ExecutorOptions;
  readonly #log: Log;
  #state: ExecutorState = { kind: "idle" };

  constructor(options: ExecutorOptions) {
    const { index, node, servers, context } = options;
    this.index = index;
    this.#options = options;
    this.#log = context.log.child({ node: node.name, executor: index });
    this.worker = new Worker({
      servers,
      clientId: `${context.config().name}/${node.name}/${index}`,
      onJob: (job) => this.#work(job),
      onEvent: workerEventLogger(this.#log),
    });
  }

  get state(): ExecutorState {
    return this.#state;
  }

  /** One Gearman job, from its assignment to the packet that ends it. Never throws. */
  async #work(job: Job): Promise<void> {
    const { context, node } = this.#options;
    const asked = parseFunction(job.function);
    const config = asked?.kind === "build" ? context.config().jobs.get(asked.job) : undefined;
    if (asked?.kind !== "build" || !config) {
      // Only a reload that removed the job just now brings us here: elsewhere the build can still run.
      this.#log.warn(
        { function: job.function },
        "a job was handed out that is no longer configured: given back",
      );
      return job.fail();
    }
    const labels = node.labels();
    let parameters: Map<string, string>;
    try {
      parameters = parseBuildArgument(job.argument);
    } catch (error) {
      const facts = { job: asked.job, url: context.config().http.url, node: node.name, labels };
      this.#log.warn({ job: asked.job, uuid: job.unique }, (error as Error).message);
      return new Reporter(job, context.worker(), facts).refused((error as Error).message);
    }
    let build: Build;
    try {
      build = context.store.create({
        job: asked.job,
        uuid: job.unique || parameters.get("ZUUL_UUID") || crypto.randomUUID(),
        node: node.name,
        ...(asked.target === undefined ? {} : { target: asked.target }),
        labels,
        executor: this.index,
        server: job.server,
        parameters: maskSecrets(parameters),
      });
    } catch (error) {
      this.#log.error({ job: asked.job, uuid: job.unique }, `no build: ${(error as Error).message}`);
      return job.fail();
    }
    this.#state = { kind: "busy", build };
    const { number, url } = build.record;
    const reporter = new Reporter(job, context.worker(), {
      job: asked.job,
      number,
      url,
      node: node.name,
      labels,
    });
    reporter.assigned();
    reporter.follow(build);
    job.lost.addEventListener("abort", () => {
      // The server gives the job to another node, or Zuul asks for it again: this run is nobody's any more.
      const { message } = job.lost.reason as Error;
      build.stop({ kind: "infrastructure", reason: `${message}: nobody would hear how the build ends` });
    });
    try {
      await this.#run(build, reporter, () => runHostBuild(build, config, parameters, context), parameters);
    } finally {
      this.#state = { kind: "idle" };
    }
  }

  async #run(
    build: Build,
    reporter: Reporter,
    work: () => Promise<Ending>,
    parameters: ReadonlyMap<string, string>,
  ): Promise<void> {
    const { context } = this.#options;
    const { job, uuid, number, labels } = build.record;
    const log = this.#log.child({ job, number, uuid });
    log.info({ server: build.record.server }, `${build.title} assigned`);
    const { infrastructureResult } = context.config();
    const result = (ending: Ending) => resultOf(ending.kind, infrastructureResult);
    let streamed: Promise<void> | undefined;
    const stream = () => {
      if (!build.console || streamed !== undefined) return;
      streamed = streamConsole(build.console, (text, offset) => reporter.output(text, offset)).catch(
        (error) => {
          log.warn({}, `the console can't be streamed: ${error.message}`);
        },
      );
    };
    if (parameters.get("LABGEAR_STREAM") === "1") build.on("changed", stream);
    const progress = estimateProgress(build, context.store.estimate(job, labels));
    const ended = await work();
    progress[Symbol.dispose]();
    await build.console?.close();
    await streamed;
    if (/^(1|true)$/i.test(parameters.get("OFFLINE_NODE_WHEN_COMPLETE") ?? ""))
      this.#options.onOffline(build);
    let ending = ended;
    try {
      ending = await build.end(ended, result);
    } catch (error) {
      log.error({}, `the record can't be written: ${(error as Error).message}`);
    }
    reporter.ended(ending.kind, result(ending));
    log.info({ ending: ending.kind, result: result(ending) }, `${build.title} ended: ${ending.reason}`);
  }

  /** Takes no more work, and closes its connections when what it has is done. */
  async retire(): Promise<void> {
    this.worker.pause();
    await this.worker.settled();
    await this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.worker[Symbol.asyncDispose]();
  }
}
