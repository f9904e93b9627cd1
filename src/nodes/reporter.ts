/**
 * What one build tells its Gearman client: the first data at once, progress, the end; and to a client that asked for it
 * the console. The order of packets is the contract's; Zuul's side of it is in zuul/data.ts.
 */
import type { Build } from "#/builds/build.ts";
import type { EndingKind } from "#/builds/ending.ts";
import { type BuildFacts, buildData, type WorkerFacts } from "#/zuul/data.ts";

/** The client's end of a job, as gearmand's PROTOCOL has it. */
export interface JobChannel {
  data(bytes: string | Uint8Array): void;
  status(numerator: number, denominator: number): void;
  complete(bytes?: string | Uint8Array): void;
  fail(): void;
  exception(bytes: string | Uint8Array): void;
}

export class Reporter {
  readonly #channel: JobChannel;
  readonly #object: Record<string, unknown>;

  constructor(channel: JobChannel, worker: WorkerFacts, build: BuildFacts) {
    this.#channel = channel;
    this.#object = buildData(worker, build);
  }

  /** The first data, then 0 %: Zuul 2.6 can't cancel a build before it has the data, so nothing goes before it. */
  assigned(): void {
    this.#channel.data(JSON.stringify(this.#object));
    this.#channel.status(0, 100);
  }

  /** Sends the build's progress whenever it grows, until the build ends. */
  follow(build: Build): void {
    let sent = 0;
    build.on("changed", () => {
      if (build.state.phase === "ended" || build.progress <= sent) return;
      sent = build.progress;
      this.#channel.status(sent, 100);
    });
  }

  /** A piece of console, for a client that asked for the stream. */
  output(text: string, offset: number): void {
    this.#channel.data(JSON.stringify({ output: text, offset }));
  }

  /** The last data, and the packet that ends the job. */
  ended(kind: EndingKind, result: string | undefined): void {
    const last = JSON.stringify(result === undefined ? this.#object : { ...this.#object, result });
    this.#channel.data(last);
    if (kind === "passed") this.#channel.complete(last);
    else this.#channel.fail();
  }

  /**
   * The end of a request that no build came of, because its argument can't be understood. geard takes the exception
   * as the end, gearmand the fail.
   */
  refused(reason: string): void {
    this.#channel.data(JSON.stringify({ ...this.#object, result: "FAILURE" }));
    this.#channel.exception(reason);
    this.#channel.fail();
  }
}
