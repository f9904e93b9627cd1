/** An executor: one slot of a node, with a Gearman connection of its own, that runs one build at a time. */
import { createHash } from "node:crypto";
import type { Build } from "#/builds/build.ts";
import { recordParameters } from "#/builds/parameters.ts";
import type { Ending } from "#/builds/record.ts";
import type { BuildStore } from "#/builds/store.ts";
import type { JobConfig } from "#/config/model.ts";
import { parsePublicKey } from "#/exchange/key.ts";
import { type LeaseTerms, leaseJob, parseLeaseFunction, parseLeaseTerms } from "#/exchange/lease.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { type Job, logWorkerEvents, Worker, type WorkerCounts } from "#/gearman/worker/worker.ts";
import { Condition } from "#/lib/condition.ts";
import type { Log } from "#/lib/log.ts";
import { findSurvivors, type Survivor, stillAlive } from "#/runners/trees/remains.ts";
import { buildUuid, parseBuildArgument, wantsNodeOffline, wantsStream } from "#/zuul/arguments.ts";
import { resultOf } from "#/zuul/data.ts";
import { parseFunction } from "#/zuul/functions.ts";
import { warn } from "./collect.ts";
import { streamConsole } from "./console-stream.ts";
import type { JobReport, JobReports } from "./job-report.ts";
import type { LeaseRequest } from "./lease/run-lease.ts";
import type { Place, Placement } from "./placement.ts";
import type { BuildContext, ReserveBoard } from "./run-build.ts";

/**
 * The build may have come by the connection of another executor: see placement.ts. The job of a build that runs already, here
 * or on another executor, is attached to it.
 *
 *     idle ──placed──▶ busy ──WORK_COMPLETE or WORK_FAIL──▶ idle
 *       ▲                └──processes outlive the kill──▶ blocked
 *       └─────────────────they have ended─────────────────────┘
 */
export type ExecutorState =
  | { readonly kind: "idle" }
  | { readonly kind: "busy"; readonly build: Build }
  | { readonly kind: "blocked"; readonly survivors: readonly Survivor[] };

/** The kernel notifies only the parent of a process's end. */
const survivorIntervalMs = 1000;

/** What the executors of all nodes work with. */
export interface NodeContext extends BuildContext {
  readonly store: BuildStore;
  readonly reports: JobReports;
  readonly counts: WorkerCounts;
  readonly log: Log;
  /** Takes a node out of service after a build whose parameters ask for it. Never throws. */
  readonly takeOffline: (build: Build) => void;
}

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
  readonly placement: Placement<Executor>;
  /** The node's executors, this one among them unless it retires. */
  readonly executors: () => readonly Executor[];
  /** Absent: the host's. */
  readonly reserve?: ReserveBoard;
  /** Absent: it can't be leased. */
  readonly lease?: RunLease;
}

export type RunLease = (request: LeaseRequest) => Promise<Ending>;

/** What a JOB_ASSIGN asks for. */
type Work =
  | { readonly kind: "job"; readonly config: JobConfig }
  | { readonly kind: "lease"; readonly terms: LeaseTerms };

/** A JOB_ASSIGN, understood. */
interface Request {
  /** Its name. */
  readonly job: string;
  readonly work: Work;
  /** The class or name that was asked for. */
  readonly target?: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly uuid: string;
  /** A digest of the function and the argument. */
  readonly digest: string;
  readonly receivesData: boolean;
}

export class Executor implements Place, AsyncDisposable {
  readonly index: number;
  readonly worker: Worker;
  readonly #options: ExecutorOptions;
  readonly #log: Log;
  readonly #changed = new Condition();
  #state: ExecutorState = { kind: "idle" };
  #held = false;
  #survivorTimer: NodeJS.Timeout | undefined;

  constructor(options: ExecutorOptions) {
    const { index, node, servers, context } = options;
    this.index = index;
    this.#options = options;
    this.#log = context.log.child({ node: node.name, executor: index });
    this.worker = new Worker({
      servers,
      clientId: `${context.config().name}/${node.name}/${index}`,
      onJob: (job) => this.#take(job),
      mayAsk: () => context.boxHealth.isReady(),
      onEvent: logWorkerEvents(this.#log, context.counts),
    });
  }

  get state(): ExecutorState {
    return this.#state;
  }

  get idle(): boolean {
    return this.#state.kind === "idle";
  }

  occupy(build: Build): void {
    this.#state = { kind: "busy", build };
  }

  /** The build has ended: the place is for the next one, once nothing of this one is alive. */
  async #vacate({ record, title }: Build): Promise<void> {
    const survivors = record.survivors ? findSurvivors(record.survivors) : [];
    if (survivors.length === 0) return this.#release();
    const pids = survivors.map(({ pid }) => pid).join(", ");
    this.#log.error(
      {},
      `processes of ${title} can't be killed: ${pids}; this executor takes no builds until they have ended`,
    );
    this.worker.pause();
    this.#block(survivors);
  }

  #block(survivors: readonly Survivor[]): void {
    this.#state = { kind: "blocked", survivors };
    this.#changed.wake();
    this.#survivorTimer = setTimeout(() => this.#lookAgain(survivors), survivorIntervalMs);
  }

  #lookAgain(survivors: readonly Survivor[]): void {
    let alive = survivors;
    try {
      alive = stillAlive(survivors);
    } catch {
      // Without a file descriptor nothing is known.
    }
    if (alive.length > 0) this.#block(alive);
    else {
      this.#log.info({}, "the processes that couldn't be killed have ended: builds are taken");
      this.#release();
    }
  }

  #release(): void {
    this.#state = { kind: "idle" };
    this.#options.placement.next(this);
    if (!this.#held) this.worker.resume();
    this.#changed.wake();
  }

  /** Takes no new work; what runs goes on. */
  pause(): void {
    this.#held = true;
    this.worker.pause();
  }

  resume(): void {
    this.#held = false;
    if (this.#state.kind !== "blocked") this.worker.resume();
  }

  /** One Gearman job, from its assignment to the packet that ends it. */
  async #take(job: Job): Promise<void> {
    const { reports } = this.#options.context;
    const request = this.#understand(job);
    if (!request) return;
    const { job: name, uuid, digest } = request;
    const running = reports.find(uuid, digest);
    if (running) {
      this.#log.info({ job: name, uuid }, `${running.build.title} is handed out again, and goes on`);
      return running.attach(job);
    }
    const ended = reports.sendEnded(uuid, digest, job);
    if (ended) {
      const text = `${ended.job}#${ended.number} is handed out again after its end: its ending is sent`;
      return this.#log.info({ job: name, uuid }, text);
    }
    const build = this.#create(job, request);
    if (!build) return job.fail();
    if (job.isUniqueCut)
      warn(build, [`the job server cut the build's unique to its first ${job.unique.length} characters`]);
    const report = reports.open(build);
    void report.attach(job);
    await this.#run(report, request);
  }

  /** What the job asks for; undefined when it was answered without a build. */
  #understand(job: Job): Request | undefined {
    const { context, node } = this.#options;
    const asked = this.#asked(job.function);
    if (!asked) {
      // A reload has just removed it; elsewhere the build can still run.
      this.#log.warn({ function: job.function }, "a job that is no longer configured is given back");
      job.fail();
      return undefined;
    }
    try {
      const parameters = parseBuildArgument(job.argument);
      const uuid = buildUuid(job.unique, parameters, job.isUniqueCut) ?? crypto.randomUUID();
      const digest = createHash("sha256").update(`${job.function}\0`).update(job.argument).digest("hex");
      const { config } = asked;
      const work: Work = config
        ? { kind: "job", config }
        : { kind: "lease", terms: parseLeaseTerms(parameters) };
      return {
        ...{ job: asked.job, work, parameters, uuid, digest },
        // The Perl server passes on neither uniques nor WORK_DATA.
        receivesData: job.unique !== "",
        ...(asked.target === undefined ? {} : { target: asked.target }),
      };
    } catch (error) {
      const reason = (error as Error).message;
      this.#log.warn({ job: asked.job, uuid: buildUuid(job.unique, new Map()) }, reason);
      context.reports.refuse({ job: asked.job, node: node.name, labels: node.labels() }, job, reason);
      return undefined;
    }
  }

  /** A function's job, and its configuration unless it is a lease; undefined: it isn't offered any more. */
  #asked(name: string): { job: string; target?: string; config?: JobConfig } | undefined {
    const target = parseLeaseFunction(name);
    if (target !== undefined) return this.#options.lease && { job: leaseJob, target };
    const asked = parseFunction(name);
    const config = asked?.kind === "build" ? this.#options.context.config().jobs.get(asked.job) : undefined;
    return asked?.kind === "build" && config ? { ...asked, config } : undefined;
  }

  #create(job: Job, { job: name, uuid, digest, target, parameters }: Request): Build | undefined {
    const { context, node } = this.#options;
    try {
      return context.store.create({
        job: name,
        uuid,
        node: node.name,
        ...(node.device !== undefined && { device: node.device }),
        ...(target === undefined ? {} : { target }),
        labels: node.labels(),
        executor: this.index,
        server: job.server,
        request: digest,
        ...recordKey(parameters),
        ...recordParameters(parameters),
      });
    } catch (error) {
      const reason = `no build: ${(error as Error).message}`;
      this.#log.error({ job: name, uuid }, reason);
      // Without a number no other build can begin either.
      context.boxHealth.failed(reason);
      return undefined;
    }
  }

  /** A build, from its assignment to its end. Never rejects. */
  async #run(report: JobReport, request: Request): Promise<void> {
    const { context, placement, executors } = this.#options;
    const { build } = report;
    const { job, uuid, number, server } = build.record;
    const log = this.#log.child({ job, number, uuid });
    log.info({ server }, `${build.title} assigned`);
    const executor = await placement.place(build, [this, ...executors()]);
    if (executor) build.record.executor = executor.index;
    const { parameters } = request;
    const streamed = wantsStream(parameters) ? stream(report, log) : undefined;
    const ended = await this.#carryOut(report, request);
    const { infrastructureResult } = context.config();
    const result = (ending: Ending) => resultOf(ending.kind, infrastructureResult);
    await sayWhy(build, ended);
    let ending = ended;
    let unwritten = "";
    try {
      ending = await build.end(ended, result);
    } catch (error) {
      unwritten = `; its record stays in memory until it can be written: ${(error as Error).message}`;
      context.boxHealth.failed(`a record can't be written: ${(error as Error).message}`);
      if (build.state.phase === "ended") ending = build.state.ending;
    }
    if (wantsNodeOffline(parameters)) {
      if (context.config().builds.offlineNode) context.takeOffline(build);
      else log.warn({}, "OFFLINE_NODE_WHEN_COMPLETE is refused: builds.offline-node is false");
    }
    if (executor) await executor.#vacate(build).catch(() => executor.#release());
    // A client that follows a flood gets the rest after the build's end, and its ending after that.
    await streamed;
    context.reports.end(report, ending, result(ending));
    const level = unwritten ? "error" : ending.kind === "infrastructure" ? "warn" : "info";
    log[level](
      { ending: ending.kind, result: result(ending) },
      `${build.title} ended: ${ending.reason}${unwritten}`,
    );
  }

  /** The work of a build, with its progress. */
  async #carryOut(report: JobReport, request: Request): Promise<Ending> {
    const { context, reserve, lease } = this.#options;
    const { build } = report;
    const { work, parameters, receivesData } = request;
    if (work.kind === "lease") {
      if (lease) return await lease({ build, report, terms: work.terms });
      return { kind: "infrastructure", reason: "the device can't be leased any more" };
    }
    const job = work.config;
    const client = { want: report.want.bind(report), receivesData };
    try {
      using _ = estimateProgress(build, context.store.estimate(job.name, build.record.labels));
      // Loaded by the first build: registration doesn't wait for it.
      const { runBuild } = await import("./run-build.ts");
      return await runBuild({ build, job, parameters, client }, context, reserve);
    } catch (error) {
      return { kind: "infrastructure", reason: (error as Error).message };
    }
  }

  /** Takes no more work, and closes its connections when what it has is done. */
  async retire(): Promise<void> {
    await this.worker.retire();
    // What runs here may have come by another executor's connection.
    await this.#changed.until(() => this.#state.kind !== "busy");
    await this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#survivorTimer);
    await this.worker[Symbol.asyncDispose]();
  }
}

/** The last line of the console of a build that hasn't passed. */
async function sayWhy({ console, state }: Build, ended: Ending): Promise<void> {
  const { kind, reason } = state.phase === "stopping" ? state.ending : ended;
  // A full disk is in the log, and the ending goes out all the same.
  if (kind !== "passed") await console?.note(reason).catch(() => {});
}

/** Streams the console once it is open; resolves when all of it is sent. Never rejects. */
async function stream(report: JobReport, log: Log): Promise<void> {
  try {
    const console = await report.build.opened;
    if (console) await streamConsole(console, report, report.build.signal);
  } catch (error) {
    log.warn({}, `the console can't be streamed: ${(error as Error).message}`);
  }
}

/**
 * Raises the build's progress as time passes, until disposed.
 * @param expectedMs how long the job took before; undefined: nothing is known, and the progress stays as it is
 * @internal
 */
export function estimateProgress(build: Build, expectedMs: number | undefined): Disposable {
  if (!expectedMs) return { [Symbol.dispose]() {} };
  const begun = performance.now();
  // A hundred steps, but no more than one a second: nobody looks closer.
  const timer = setInterval(
    () => {
      build.progress = (100 * (performance.now() - begun)) / expectedMs;
    },
    Math.max(1000, expectedMs / 100),
  );
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** The client's public key, if it is one: an input that needs it says what is wrong. */
function recordKey(parameters: ReadonlyMap<string, string>): { readonly key?: string } {
  const key = parameters.get("LABGEAR_KEY");
  if (key === undefined) return {};
  try {
    parsePublicKey(key);
    return { key };
  } catch {
    return {};
  }
}
