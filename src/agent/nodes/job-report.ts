/**
 * What the Gearman clients of a build are sent: the first data at once, progress, the end, and on request the console. The
 * order of the packets is what both dialects of Zuul expect; zuul/data.ts says what is in them.
 */
import { aborted } from "node:util";
import type { Build } from "#/builds/build.ts";
import { type BuildSummary, causeOf, type Ending, isOwn } from "#/builds/record.ts";
import type { BuildStore } from "#/builds/store.ts";
import type { Config } from "#/config/model.ts";
import type { WantedInput } from "#/exchange/inputs.ts";
import type { Job } from "#/gearman/worker/worker.ts";
import type { Log } from "#/lib/log.ts";
import { formatDuration } from "#/lib/units.ts";
import { type BuildFacts, buildData, type WorkerFacts } from "#/zuul/data.ts";

/** What a report needs of a Gearman job. */
export type ReportedJob = Pick<
  Job,
  "server" | "handle" | "lost" | "delivered" | "data" | "status" | "complete" | "fail" | "drained"
>;

/** The data object of a build, and the packets that carry it. */
export class ResultMessage {
  readonly #object: Record<string, unknown>;

  constructor(worker: WorkerFacts, build: BuildFacts) {
    this.#object = buildData(worker, build);
  }

  /**
   * The first data, then the progress: Zuul 2.6 can't cancel a build before it has the data, so nothing goes before it.
   * @param percent what a build that is handed out again has reached
   */
  begin(job: ReportedJob, percent = 0, wants?: readonly WantedInput[]): void {
    this.data(job, wants);
    job.status(percent, 100);
  }

  /** The first data, which is also the next one while inputs are missing. */
  data(job: ReportedJob, wants?: readonly WantedInput[]): void {
    job.data(JSON.stringify({ ...this.#object, ...(wants && { wants, time: Date.now() }) }));
  }

  /** The last data, and the packet that ends the job. */
  end(job: ReportedJob, ending: Ending, result: string | undefined): void {
    const { kind, reason } = ending;
    const last = JSON.stringify({
      ...this.#object,
      ...(result !== undefined && { result }),
      ...{ reason, cause: causeOf(ending) },
    });
    job.data(last);
    if (kind === "passed") job.complete(last);
    else job.fail();
  }

  /**
   * Ends a job whose argument can't be understood, without a build. The reason is in the data, and no WORK_EXCEPTION is
   * sent: gearmand 1.1 turns that, for clients that didn't ask for exceptions, into a WORK_FAIL whose handle ends in NUL, and
   * libgearman, with it the `gearman` tool, then waits for ever.
   */
  refuse(job: ReportedJob, reason: string): void {
    job.data(JSON.stringify({ ...this.#object, result: "FAILURE", reason, cause: "argument" }));
    job.fail();
  }
}

export interface JobReportOptions {
  readonly build: Build;
  readonly message: ResultMessage;
  /** How long a build may run without a job server that asks for it. */
  readonly orphanTimeoutMs: number;
}

/**
 * Reports one running build on every Gearman job that asks for it. A build outlives its job: a server that requeues hands the
 * job out again, and that one is attached. Without any for too long, and without a word from its client, the build is stopped.
 *
 *     attached ──the last job lost──▶ orphaned ──orphan-timeout──▶ the build is stopped
 *        │ ▲────────attach───────────────┘ │
 *        └──────────────end────────────────┴──▶ ended
 */
export class JobReport {
  readonly #options: JobReportOptions;
  readonly #jobs = new Set<ReportedJob>();
  readonly #ended = Promise.withResolvers<void>();
  #attached = Promise.withResolvers<void>();
  #orphanTimer: NodeJS.Timeout | undefined;
  #wants: readonly WantedInput[] | undefined;
  /** What follows the first data on each job. */
  #news: (() => object) | undefined;

  constructor(options: JobReportOptions) {
    this.#options = options;
    const { build } = options;
    let sent = 0;
    build.on("changed", () => {
      if (build.state.phase === "ended" || build.progress <= sent) return;
      sent = build.progress;
      for (const job of this.#jobs) job.status(sent, 100);
    });
  }

  get build(): Build {
    return this.#options.build;
  }

  /** Reports on this job, too; resolves when it has the end, or is lost. */
  async attach(job: ReportedJob): Promise<void> {
    const { message, build } = this.#options;
    clearTimeout(this.#orphanTimer);
    this.#jobs.add(job);
    message.begin(job, build.progress, this.#wants);
    if (this.#news) job.data(JSON.stringify(this.#news()));
    this.#attached.resolve();
    const lost = Promise.withResolvers<void>();
    const onLost = () => {
      this.#jobs.delete(job);
      if (this.#jobs.size === 0) {
        this.#attached = Promise.withResolvers();
        this.#orphaned();
      }
      lost.resolve();
    };
    if (job.lost.aborted) onLost();
    job.lost.addEventListener("abort", onLost, { once: true });
    await Promise.race([this.#ended.promise, lost.promise]);
    job.lost.removeEventListener("abort", onLost);
  }

  #orphaned(): void {
    const { build, orphanTimeoutMs } = this.#options;
    clearTimeout(this.#orphanTimer);
    const reason = `its job server was lost and didn't ask for it again within ${formatDuration(orphanTimeoutMs)}`;
    this.#orphanTimer = setTimeout(() => build.stop({ kind: "infrastructure", reason }), orphanTimeoutMs);
  }

  /** Its client has asked for it by `send:`, `fetch:` or `type:`. It won't submit again what may have begun. */
  heard(): void {
    if (this.#jobs.size === 0 && this.build.state.phase !== "ended") this.#orphaned();
  }

  /** Says in the data which inputs are missing; undefined: none any more. */
  want(wants: readonly WantedInput[] | undefined): void {
    this.#wants = wants;
    if (wants) for (const job of this.#jobs) this.#options.message.data(job, wants);
  }

  /** Says what is special to this build, now and again to each job that is attached later. */
  announce(news: () => object): void {
    this.#news = news;
    const object = JSON.stringify(news());
    for (const job of this.#jobs) job.data(object);
  }

  get isAttached(): boolean {
    return this.#jobs.size > 0;
  }

  /** Resolves when a job is attached. */
  attached(): Promise<void> {
    return this.#attached.promise;
  }

  /**
   * Sends a piece of the console, for a client that asked for the stream; resolves when more can be sent.
   * @param offset where in the console the text begins, in bytes
   */
  async output(text: string, offset: number): Promise<void> {
    await this.send({ output: text, offset });
  }

  /** Sends a data object; resolves when more can be sent. */
  async send(data: object): Promise<void> {
    const object = JSON.stringify(data);
    const jobs = latest(this.#jobs);
    for (const job of jobs) job.data(object);
    await Promise.all(jobs.map((job) => job.drained()));
  }

  /**
   * Sends the end on all jobs.
   * @returns false when there was none, or one was lost before its server had taken the end
   */
  async end(ending: Ending, result: string | undefined): Promise<boolean> {
    clearTimeout(this.#orphanTimer);
    const jobs = [...this.#jobs];
    for (const job of jobs) this.#options.message.end(job, ending, result);
    this.#ended.resolve();
    const delivered = await Promise.all(latest(jobs).map((job) => job.delivered));
    return delivered.length > 0 && delivered.every(Boolean);
  }
}

/**
 * The newest job of each handle. A server that loses a connection hands the job out again before the loss is noticed here:
 * the old one gets the end too, but nothing waits for it.
 */
function latest(jobs: Iterable<ReportedJob>): ReportedJob[] {
  const byHandle = [...jobs].map((job) => [`${job.server} ${job.handle}`, job] as const);
  return [...new Map(byHandle).values()];
}

const lost: Ending = { kind: "lost", reason: "the agent ended while it ran" };

export interface JobReportsOptions {
  readonly store: BuildStore;
  readonly config: () => Config;
  readonly worker: () => WorkerFacts;
  readonly log: Log;
}

/** The reports of all running builds, and the endings that no client has got yet. */
export class JobReports {
  readonly #options: JobReportsOptions;
  readonly #running = new Set<JobReport>();
  /** Endings on their way to their job servers. */
  readonly #deliveries = new Set<Promise<void>>();

  constructor(options: JobReportsOptions) {
    this.#options = options;
  }

  /** The report of a new build, until end(). */
  open(build: Build): JobReport {
    const { orphanTimeoutMs } = this.#options.config();
    const message = this.#message(build.record);
    const report = new JobReport({ build, message, orphanTimeoutMs });
    this.#running.add(report);
    return report;
  }

  /** The report of a running build whose job a server hands out again. */
  find(uuid: string, request: string): JobReport | undefined {
    return [...this.#running].find(
      ({ build: { record } }) => record.uuid === uuid && record.request === request,
    );
  }

  heard(build: Build): void {
    for (const report of this.#running) if (report.build === build) report.heard();
  }

  /**
   * Sends the ending of a finished build that its client hasn't got, and whose job a server hands out again.
   * @returns undefined when there is none
   */
  sendEnded(uuid: string, request: string, job: ReportedJob): BuildSummary | undefined {
    const build = this.#options.store.findUndelivered(uuid, request);
    if (!build) return undefined;
    const message = this.#message(build);
    message.begin(job);
    message.end(job, build.ending ?? lost, build.result);
    this.#follow(build, job.delivered);
    return build;
  }

  /** Sends how the build ended. An ending that is the job's own is kept until it is delivered. */
  end(report: JobReport, ending: Ending, result: string | undefined): void {
    this.#running.delete(report);
    const delivered = report.end(ending, result);
    if (isOwn(ending)) this.#follow(report.build.record, delivered);
  }

  /** Ends a job that can't be understood. */
  refuse(
    request: { job: string; node: string; labels: readonly string[] },
    job: ReportedJob,
    reason: string,
  ): void {
    const { config, worker } = this.#options;
    new ResultMessage(worker(), { ...request, url: config().http.url }).refuse(job, reason);
  }

  /** Resolves when it is known of every ending whether it was delivered, or the signal is aborted. */
  async settled(signal: AbortSignal): Promise<void> {
    await Promise.race([Promise.all(this.#deliveries), aborted(signal, this)]);
  }

  #message({ job, number, node, labels }: BuildSummary): ResultMessage {
    const url = this.#options.store.url(job, number);
    return new ResultMessage(this.#options.worker(), { job, number, url, node, labels });
  }

  #follow({ job, number, uuid }: BuildSummary, delivered: Promise<boolean>): void {
    const { store, log } = this.#options;
    const delivery = delivered
      .then(async (done) => {
        if (done) return store.setDelivered(job, number);
        const text = `the ending of ${job}#${number} is kept until a job server asks for it again`;
        log.warn({ job, number, uuid }, text);
      })
      .catch((error) => {
        log.error({ job, number, uuid }, `the delivery of the ending can't be recorded: ${error.message}`);
      })
      .finally(() => this.#deliveries.delete(delivery));
    this.#deliveries.add(delivery);
  }
}
