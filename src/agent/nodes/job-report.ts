/**
 * What one build tells its Gearman clients: the first data at once, progress, the end; and to a client that asked for it
 * the console. The order of packets is the contract's; Zuul's side of it is in zuul/data.ts.
 */
import type { Build } from "#/builds/build.ts";
import type { EndingKind } from "#/builds/ending.ts";
import { type BuildFacts, buildData, type WorkerFacts } from "#/zuul/data.ts";

/** The client's end of a job, as gearmand's PROTOCOL has it. */
export interface JobChannel {
  /** Host and port of the job server. */
  readonly server: string;
  /** What the job server calls the job: the same when it hands it out again. */
  readonly handle: string;
  /** Aborted when the connection to the job server has gone. */
  readonly lost: AbortSignal;
  /** Settles after the end: whether the job server has taken it. */
  readonly delivered: Promise<boolean>;
  data(bytes: string | Uint8Array): void;
  status(numerator: number, denominator: number): void;
  complete(bytes?: string | Uint8Array): void;
  fail(): void;
  /** Resolves when more data can be sent without piling it up. */
  drained(): Promise<void>;
}

/** The data objects of a build, first and last, and the packets around them. */
export class Report {
  readonly #object: Record<string, unknown>;

  constructor(worker: WorkerFacts, build: BuildFacts) {
    this.#object = buildData(worker, build);
  }

  /**
   * The first data, then the progress: Zuul 2.6 can't cancel a build before it has the data, so nothing goes before it.
   * @param percent 0, or for a build that is handed out again what it has reached
   */
  begin(channel: JobChannel, percent = 0): void {
    channel.data(JSON.stringify(this.#object));
    channel.status(percent, 100);
  }

  /** The last data, and the packet that ends the job. */
  end(channel: JobChannel, kind: EndingKind, result: string | undefined): void {
    const last = JSON.stringify(result === undefined ? this.#object : { ...this.#object, result });
    channel.data(last);
    if (kind === "passed") channel.complete(last);
    else channel.fail();
  }

  /**
   * The end of a request that no build came of, because its argument can't be understood. The reason is in the data, and no
   * WORK_EXCEPTION is sent: gearmand 1.1 makes of that, for clients that didn't ask for exceptions, a WORK_FAIL whose handle
   * ends in NUL, and libgearman, with it the `gearman` tool, then waits for ever.
   */
  refuse(channel: JobChannel, reason: string): void {
    channel.data(JSON.stringify({ ...this.#object, result: "FAILURE", reason }));
    channel.fail();
  }
}

export interface ReporterOptions {
  readonly build: Build;
  readonly report: Report;
  /** Milliseconds that a build without a line may wait for one. */
  readonly orphanTimeout: number;
}

/**
 * The lines of one running build to those who asked for it. A build outlives its line: a server that requeues hands the job
 * out again, and the new line is attached. Without one for too long the build is nobody's and is stopped.
 *
 *     attached ──the last line lost──▶ orphaned ──orphan-timeout──▶ the build is stopped
 *        │ ▲────────attach────────────────┘ │
 *        └──────────────ended───────────────┴──▶ ended
 */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #channels = new Set<JobChannel>();
  readonly #ended = Promise.withResolvers<void>();
  #attached = Promise.withResolvers<void>();
  #orphanTimer: NodeJS.Timeout | undefined;

  constructor(options: ReporterOptions) {
    this.#options = options;
    const { build } = options;
    let sent = 0;
    build.on("changed", () => {
      if (build.state.phase === "ended" || build.progress <= sent) return;
      sent = build.progress;
      for (const channel of this.#channels) channel.status(sent, 100);
    });
  }

  /** The build that is told of. */
  get build(): Build {
    return this.#options.build;
  }

  /** Begins to tell this line too; resolves when it has the end, or is lost. */
  async attach(channel: JobChannel): Promise<void> {
    const { report, build } = this.#options;
    clearTimeout(this.#orphanTimer);
    this.#channels.add(channel);
    report.begin(channel, build.progress);
    this.#attached.resolve();
    const lost = Promise.withResolvers<void>();
    const onLost = () => {
      this.#channels.delete(channel);
      if (this.#channels.size === 0) this.#orphaned();
      lost.resolve();
    };
    if (channel.lost.aborted) onLost();
    channel.lost.addEventListener("abort", onLost, { once: true });
    await Promise.race([this.#ended.promise, lost.promise]);
    channel.lost.removeEventListener("abort", onLost);
  }

  #orphaned(): void {
    const { build, orphanTimeout } = this.#options;
    this.#attached = Promise.withResolvers();
    const reason = `its job server was lost and didn't ask for it again within ${orphanTimeout / 1000} s`;
    this.#orphanTimer = setTimeout(() => build.stop({ kind: "infrastructure", reason }), orphanTimeout);
  }

  /** True while there is a line to tell something to. */
  get isAttached(): boolean {
    return this.#channels.size > 0;
  }

  /** Resolves when there is a line to tell something to. */
  attached(): Promise<void> {
    return this.#attached.promise;
  }

  /** A piece of console, for a client that asked for the stream; resolves when the lines can take more. */
  async output(text: string, offset: number): Promise<void> {
    const object = JSON.stringify({ output: text, offset });
    const channels = latest(this.#channels);
    for (const channel of channels) channel.data(object);
    await Promise.all(channels.map((channel) => channel.drained()));
  }

  /**
   * Tells the end to all lines.
   * @returns false when there was none, or when one was lost before its server had taken the end
   */
  async ended(kind: EndingKind, result: string | undefined): Promise<boolean> {
    clearTimeout(this.#orphanTimer);
    const channels = [...this.#channels];
    for (const channel of channels) this.#options.report.end(channel, kind, result);
    this.#ended.resolve();
    const delivered = await Promise.all(latest(channels).map((channel) => channel.delivered));
    return delivered.length > 0 && delivered.every(Boolean);
  }
}

/**
 * The line that each job was handed out on last. A line that its server alone has given up stays beside it until that is
 * noticed here: it gets the end too, but nothing waits for it.
 */
function latest(channels: Iterable<JobChannel>): JobChannel[] {
  const byJob = [...channels].map((channel) => [`${channel.server} ${channel.handle}`, channel] as const);
  return [...new Map(byJob).values()];
}
