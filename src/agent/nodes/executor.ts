/** An executor: one slot of a node, with a Gearman connection of its own, that runs one build at a time. */
import type { Build } from "#/builds/build.ts";
import type { Ending } from "#/builds/ending.ts";
import { recordParameters } from "#/builds/environment.ts";
import type { JobConfig } from "#/config/model.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { type Job, Worker } from "#/gearman/worker/worker.ts";
import type { Log } from "#/lib/log.ts";
import { buildUuid, parseBuildArgument } from "#/zuul/arguments.ts";
import { parseFunction } from "#/zuul/functions.ts";
import { resultOf } from "#/zuul/results.ts";
import type { CarryOut } from "./carry-out.ts";
import { streamConsole } from "./console-stream.ts";
import type { NodeContext } from "./context.ts";
import type { Reporter } from "./job-report.ts";
import { estimateProgress } from "./progress.ts";
import { workerEventLogger } from "./worker-events.ts";

/**
 * A busy executor whose line was lost runs its build on, and may be handed another job meanwhile: that one waits for
 * its turn. A job of a build that runs already, here or on another executor, is attached to it.
 *
 *     idle ──assigned──▶ busy ──told the client──▶ idle
 */
export type ExecutorState = { readonly kind: "idle" } | { readonly kind: "busy"; readonly build: Build };

export interface ExecutorOptions {
  /** From 0. */
  readonly index: number;
  readonly node: {
    readonly name: string;
    readonly labels: () => readonly string[];
    readonly device?: string;
  };
  readonly servers: readonly ServerAddress[];
  readonly context: NodeContext;
  readonly carryOut: CarryOut;
  /** A build ended whose parameters ask to take the node out of service. */
  readonly onOffline: (build: Build) => void;
}

/** What a job server asked for, understood. */
interface Request {
  readonly config: JobConfig;
  /** The class or name that was asked for. */
  readonly target?: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly uuid: string;
}

export class Executor implements AsyncDisposable {
  readonly index: number;
  readonly worker: Worker;
  readonly #options: ExecutorOptions;
  readonly #log: Log;
  #state: ExecutorState = { kind: "idle" };
  /** The build that runs, and those that wait behind it. */
  #turn: Promise<void> = Promise.resolve();

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
    const { reports } = this.#options.context;
    const request = this.#understand(job);
    if (!request) return;
    const { config, uuid } = request;
    const running = reports.find(config.name, uuid);
    if (running) {
      this.#log.info({ job: config.name, uuid }, `${running.build.title} is handed out again, and goes on`);
      return running.attach(job);
    }
    const kept = reports.kept(config.name, uuid);
    if (kept) {
      this.#log.info(
        { job: config.name, uuid },
        `${kept.job}#${kept.number} has ended meanwhile: its ending is told`,
      );
      return reports.deliver(kept, job);
    }
    const build = this.#create(job, request);
    if (!build) return job.fail();
    const reporter = reports.open(build);
    void reporter.attach(job);
    // A fault of ours in one build is told by the worker, and keeps no other from its turn.
    const before = this.#turn.catch(() => {});
    this.#turn = before.then(() => this.#run(request, reporter));
    await this.#turn;
  }

  /** What the job asks for; undefined when it was answered without a build. */
  #understand(job: Job): Request | undefined {
    const { context, node } = this.#options;
    const asked = parseFunction(job.function);
    const config = asked?.kind === "build" ? context.config().jobs.get(asked.job) : undefined;
    if (asked?.kind !== "build" || !config) {
      // Only a reload that removed the job just now brings us here: elsewhere the build can still run.
      this.#log.warn(
        { function: job.function },
        "a job that is no longer configured was handed out: given back",
      );
      job.fail();
      return undefined;
    }
    try {
      const parameters = parseBuildArgument(job.argument);
      const uuid = buildUuid(job.unique, parameters) ?? crypto.randomUUID();
      return { config, parameters, uuid, ...(asked.target === undefined ? {} : { target: asked.target }) };
    } catch (error) {
      const reason = (error as Error).message;
      this.#log.warn({ job: asked.job, uuid: buildUuid(job.unique, new Map()) }, reason);
      context.reports.refuse({ job: asked.job, node: node.name, labels: node.labels() }, job, reason);
      return undefined;
    }
  }

  #create(job: Job, { config, uuid, target, parameters }: Request): Build | undefined {
    const { context, node } = this.#options;
    try {
      return context.store.create({
        job: config.name,
        uuid,
        node: node.name,
        ...(node.device !== undefined && { device: node.device }),
        ...(target === undefined ? {} : { target }),
        labels: node.labels(),
        executor: this.index,
        server: job.server,
        ...recordParameters(parameters),
      });
    } catch (error) {
      const reason = `no build: ${(error as Error).message}`;
      this.#log.error({ job: config.name, uuid }, reason);
      // Whatever it is, the next build would meet it as well.
      context.onTrouble(reason);
      return undefined;
    }
  }

  async #run({ config, parameters }: Request, reporter: Reporter): Promise<void> {
    const { context, carryOut, onOffline } = this.#options;
    const { build } = reporter;
    this.#state = { kind: "busy", build };
    const { job, uuid, number, labels } = build.record;
    const log = this.#log.child({ job, number, uuid });
    log.info({ server: build.record.server }, `${build.title} assigned`);
    const streamed = parameters.get("LABGEAR_STREAM") === "1" ? this.#stream(reporter, log) : undefined;
    const progress = estimateProgress(build, context.store.estimate(job, labels));
    const ended = await carryOut(build, config, parameters);
    progress[Symbol.dispose]();
    await build.console?.close();
    await streamed;
    if (/^(1|true)$/i.test(parameters.get("OFFLINE_NODE_WHEN_COMPLETE") ?? "")) onOffline(build);
    const { infrastructureResult } = context.config();
    const result = (ending: Ending) => resultOf(ending.kind, infrastructureResult);
    let ending = ended;
    let unwritten = "";
    try {
      ending = await build.end(ended, result);
    } catch (error) {
      unwritten = `; its record waits in memory until it can be written: ${(error as Error).message}`;
      context.onTrouble(`a record can't be written: ${(error as Error).message}`);
      // A stop that was asked for decides how it ended all the same.
      if (build.state.phase === "ended") ending = build.state.ending;
    }
    context.reports.ended(reporter, ending, result(ending));
    this.#state = { kind: "idle" };
    const level = unwritten ? "error" : ending.kind === "infrastructure" ? "warn" : "info";
    log[level](
      { ending: ending.kind, result: result(ending) },
      `${build.title} ended: ${ending.reason}${unwritten}`,
    );
  }

  /** Streams the console once it is there; resolves when all of it is sent. */
  async #stream(reporter: Reporter, log: Log): Promise<void> {
    try {
      const console = await reporter.build.opened;
      if (console) await streamConsole(console, reporter);
    } catch (error) {
      log.warn({}, `the console can't be streamed: ${(error as Error).message}`);
    }
  }

  /** Takes no more work, and closes its connections when what it has is done. */
  async retire(): Promise<void> {
    await this.worker.retire();
    await this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.worker[Symbol.asyncDispose]();
  }
}
