/** What is told of which build: the reporters of the running ones, and the endings that are not yet delivered. */
import type { Build } from "#/builds/build.ts";
import { type Ending, isOwn } from "#/builds/ending.ts";
import type { BuildSummary } from "#/builds/record.ts";
import type { BuildStore } from "#/builds/store.ts";
import type { Config } from "#/config/model.ts";
import type { Log } from "#/lib/log.ts";
import type { WorkerFacts } from "#/zuul/data.ts";
import { type JobChannel, Report, Reporter } from "./job-report.ts";

export interface ReportsOptions {
  readonly store: BuildStore;
  readonly config: () => Config;
  readonly worker: () => WorkerFacts;
  readonly log: Log;
}

export class Reports {
  readonly #options: ReportsOptions;
  readonly #running = new Set<Reporter>();
  /** Endings that are under way to their job servers. */
  readonly #deliveries = new Set<Promise<void>>();

  constructor(options: ReportsOptions) {
    this.#options = options;
  }

  /** The reporter of a new build, until the build has ended. */
  open(build: Build): Reporter {
    const { orphanTimeout } = this.#options.config();
    const reporter = new Reporter({ build, report: this.#report(build.record), orphanTimeout });
    this.#running.add(reporter);
    return reporter;
  }

  /** The reporter of the running build that a job server hands out again; undefined: there is none. */
  find(job: string, uuid: string): Reporter | undefined {
    return [...this.#running].find(({ build }) => build.record.job === job && build.record.uuid === uuid);
  }

  /** Tells how the build ended. An ending that is the job's own is kept until it is delivered. */
  ended(reporter: Reporter, ending: Ending, result: string | undefined): void {
    const { build } = reporter;
    this.#running.delete(reporter);
    const delivered = reporter.ended(ending.kind, result);
    if (isOwn(ending)) this.#follow(build.record, delivered);
  }

  /** The finished build whose ending its client hasn't got, and whose job is handed out again. */
  kept(job: string, uuid: string): BuildSummary | undefined {
    return this.#options.store.findUndelivered(job, uuid);
  }

  /** Tells a kept ending. */
  deliver(build: BuildSummary, channel: JobChannel): void {
    const report = this.#report(build);
    report.begin(channel);
    report.end(channel, build.ending?.kind ?? "lost", build.result);
    this.#follow(build, channel.delivered);
  }

  /** Tells that a request can't be understood; no build comes of it. */
  refuse(
    request: { job: string; node: string; labels: readonly string[] },
    channel: JobChannel,
    reason: string,
  ): void {
    const { config, worker } = this.#options;
    new Report(worker(), { ...request, url: config().http.url }).refuse(channel, reason);
  }

  /** Resolves when it is known of every ending whether it was delivered, or the signal is aborted. */
  async settled(signal: AbortSignal): Promise<void> {
    const given = new Promise<void>((resolve) =>
      signal.addEventListener("abort", () => resolve(), { once: true }),
    );
    await Promise.race([Promise.all(this.#deliveries), given]);
  }

  #report({ job, number, node, labels }: BuildSummary): Report {
    const url = this.#options.store.url(job, number);
    return new Report(this.#options.worker(), { job, number, url, node, labels });
  }

  #follow({ job, number, uuid }: BuildSummary, delivered: Promise<boolean>): void {
    const { store, log } = this.#options;
    const delivery = delivered
      .then(async (done) => {
        if (done) return store.setDelivered(job, number);
        const text = `the ending of ${job}#${number} is kept until it is asked for again`;
        log.warn({ job, number, uuid }, text);
      })
      .catch((error) => {
        log.error({ job, number, uuid }, `it can't be noted that the ending was delivered: ${error.message}`);
      })
      .finally(() => this.#deliveries.delete(delivery));
    this.#deliveries.add(delivery);
  }
}
