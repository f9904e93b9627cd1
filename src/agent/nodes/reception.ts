/** The inputs that a build still needs, until they are there or can't come any more: sent by its client, or loaded. */
import type { Build } from "#/builds/build.ts";
import type { CommandTrees } from "#/builds/checkout/git.ts";
import { BuildError } from "#/builds/errors.ts";
import type { InputCache } from "#/builds/inputs/cache.ts";
import { download } from "#/builds/inputs/download.ts";
import type { Transfer } from "#/builds/inputs/transfer.ts";
import type { InputConfig, InputsConfig, JobConfig } from "#/config/model.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { type AnnouncedInput, type WantedInput, wantsIntervalMs } from "#/exchange/inputs.ts";
import type { Piece } from "#/exchange/send.ts";
import { Condition } from "#/lib/condition.ts";
import { formatDuration, formatSize } from "#/lib/units.ts";

/** What the inputs need of a build's request. */
export interface InputRequest {
  readonly build: Build;
  readonly job: JobConfig;
  readonly parameters: ReadonlyMap<string, string>;
  readonly client: BuildClient;
}

/** What a build says to its client while it waits for inputs. */
export interface BuildClient {
  /** Says in the build's data what is missing; undefined: nothing any more. */
  want(wants: readonly WantedInput[] | undefined): void;
  /** Whether the job server passes data on: without it no client learns what to send. */
  readonly receivesData: boolean;
}

interface Arriving {
  readonly input: AnnouncedInput;
  readonly config: InputConfig;
  transfer: Transfer;
}

export interface ReceptionParts {
  readonly cache: InputCache;
  readonly config: InputsConfig;
  readonly trees: CommandTrees;
}

export class Reception implements AsyncDisposable {
  readonly #request: InputRequest;
  readonly #announced: readonly AnnouncedInput[];
  readonly #parts: ReceptionParts;
  readonly #owner: string;
  readonly #user: string;
  readonly #arriving = new Map<string, Arriving>();
  readonly #changed = new Condition();
  readonly #over = new AbortController();
  #failure: unknown;
  /** By performance.now(). */
  #lastPiece = performance.now();

  constructor(request: InputRequest, announced: readonly AnnouncedInput[], parts: ReceptionParts) {
    this.#request = request;
    this.#announced = announced;
    this.#parts = parts;
    // Behind a gate, only what the same caller has sent before counts as sent.
    const caller = request.parameters.get("LABGEAR_CALLER");
    this.#owner = `${request.job.name} ${request.job.trust}${caller === undefined ? "" : ` ${caller}`}`;
    this.#user = request.build.title;
  }

  async take({ name = "", offset, bytes }: Piece): Promise<number> {
    const arriving = this.#arriving.get(name);
    if (!arriving || arriving.input.url !== undefined) {
      const announced = this.#announced.find((input) => input.name === name);
      // The last piece of a complete input, sent again because its answer was lost.
      if (
        announced?.url === undefined &&
        announced?.size !== undefined &&
        offset + bytes.length <= announced.size
      )
        return announced.size;
      throw new ExchangeError("unknown-input", `${this.#user} waits for no input ${name}`);
    }
    const { input, transfer } = arriving;
    if (bytes.length === 0 && offset !== input.size) {
      this.#fail(new BuildError("INPUT", whyIncomplete(input, offset)));
      return transfer.received;
    }
    const appended = await transfer.append(this.#user, offset, bytes).catch(() => {
      throw new ExchangeError("unavailable", "the box can't store the input");
    });
    if (appended.kind === "over")
      throw new ExchangeError("too-large", `the input ${name} is longer than announced`);
    if (appended.kind === "gap") {
      const { received } = appended;
      throw new ExchangeError("offset", `the input ${name} goes on at ${received}`, { offset: received });
    }
    // A piece that brings nothing new is no sign that the client goes on.
    if (appended.received > offset) this.#lastPiece = performance.now();
    return appended.received;
  }

  /** Resolves when nothing is missing. */
  async all(): Promise<void> {
    const { build, client } = this.#request;
    for (const input of this.#announced) await this.#begin(input);
    if (this.#arriving.size === 0) return;
    const { timeoutMs, maxTimeMs } = this.#parts.config;
    const begun = performance.now();
    this.#lastPiece = begun;
    // Downloads have no client that could send anything.
    const waitsForClient = () => this.#wants().length > 0;
    const sayWants = () => client.want(waitsForClient() ? this.#wants() : undefined);
    sayWants();
    const repeat = setInterval(sayWants, wantsIntervalMs);
    const check = setInterval(
      () => {
        const now = performance.now();
        if (now - begun > maxTimeMs)
          this.#fail(this.#tooLate(`it took longer than ${formatDuration(maxTimeMs)}`));
        else if (waitsForClient() && now - this.#lastPiece > timeoutMs)
          this.#fail(this.#tooLate(`nothing came for ${formatDuration(timeoutMs)}`));
      },
      Math.min(1000, timeoutMs / 4),
    );
    try {
      const isOver = () => this.#arriving.size === 0 || this.#failure !== undefined;
      await this.#changed.until(isOver, build.signal);
      if (this.#failure !== undefined) throw this.#failure;
    } finally {
      clearInterval(repeat);
      clearInterval(check);
      client.want(undefined);
    }
  }

  #tooLate(why: string): BuildError {
    const [first] = this.#wants();
    // A download that takes too long is the source's fault.
    if (!first) return new BuildError("INPUT_SOURCE", `the inputs didn't arrive: ${why}`);
    const size = this.#arriving.get(first.name)?.input.size ?? 0;
    const part = `${formatSize(first.offset)} of ${formatSize(size)} are here`;
    return new BuildError("INPUT", `the input ${first.name} didn't arrive: ${why}; ${part}`);
  }

  #wants(): WantedInput[] {
    return [...this.#arriving.values()]
      .filter(({ input }) => input.url === undefined)
      .map(({ input, transfer }) => ({ name: input.name, offset: transfer.received }));
  }

  async #begin(input: AnnouncedInput): Promise<void> {
    const { cache } = this.#parts;
    const { build, job, parameters, client } = this.#request;
    const { name, sha256, size, url } = input;
    const config = job.inputs.find((one) => one.name === name);
    if (!config) return;
    const known = await cache.isKnown(sha256, size, this.#owner);
    const keptSize = cache.sizeOf(sha256) ?? 0;
    if (known && keptSize <= config.maxBytes)
      return void (await build.console?.note(
        `input ${name}: ${formatSize(keptSize)}, sent before, sha256 ${sha256}`,
      ));
    if (url === undefined) {
      if (!client.receivesData) {
        const why = "this job server passes no data on to clients, so none can be asked for a file";
        throw new BuildError("INPUT", `the input ${name} can't be sent: ${why}; use gearmand`);
      }
      if (build.record.key === undefined) {
        const why = parameters.has("LABGEAR_KEY") ? "LABGEAR_KEY is no key" : "the client set no LABGEAR_KEY";
        throw new BuildError("INPUT", `the input ${name} can't be sent: ${why}`);
      }
    }
    this.#join({ input, config, transfer: cache.transfer(sha256, size, this.#owner) });
  }

  #join(arriving: Arriving): void {
    const { input, transfer } = arriving;
    transfer.join(this.#user);
    this.#arriving.set(input.name, arriving);
    void transfer.over.then(() => this.#ended(arriving));
    if (input.url !== undefined) void this.#load(arriving, input.url);
    else if (input.size === 0) transfer.finish(this.#user).catch(() => {});
  }

  async #load({ config, transfer }: Arriving, url: string): Promise<void> {
    const { build } = this.#request;
    const { trees, cache } = this.#parts;
    const signal = AbortSignal.any([build.signal, this.#over.signal]);
    const log = async (line: string) => void (await build.console?.note(`input ${config.name}: ${line}`));
    try {
      const folder = cache.downloadsFolder;
      await download({ origin: config, url, transfer, sender: this.#user }, { trees, folder, log, signal });
    } catch (error) {
      this.#fail(error);
    }
  }

  async #ended({ input, config, transfer }: Arriving): Promise<void> {
    const { build } = this.#request;
    const { name, sha256, size, url } = input;
    if (this.#over.signal.aborted) return;
    if (transfer.state === "failed") return this.#fail(transfer.error);
    if (transfer.state === "sound") {
      this.#arriving.delete(name);
      const how = url === undefined ? "received" : "loaded";
      const text = `input ${name}: ${formatSize(transfer.received)} ${how}, sha256 ${sha256}`;
      await build.console?.note(text).catch((error) => this.#fail(error));
      return this.#changed.wake();
    }
    if (transfer.state === "dropped") return;
    const others = [...transfer.senders].some((sender) => sender !== this.#user);
    if (others) {
      // Another build's client may have sent what was wrong.
      const alone = this.#parts.cache.transfer(sha256, size, this.#owner, this.#user);
      return this.#join({ input, config, transfer: alone });
    }
    this.#fail(new BuildError("INPUT", `the input ${name} doesn't have the announced SHA-256, ${sha256}`));
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#changed.wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    for (const { transfer } of this.#arriving.values()) await transfer.leave(this.#user);
  }
}

/** @param end where the client's file ends */
function whyIncomplete({ name, size = 0 }: AnnouncedInput, end: number): string {
  return end > size
    ? `the client's file for the input ${name} has ${end} bytes now, and it announced ${size}`
    : `the client can send only ${end} of the ${size} bytes that it announced for the input ${name}`;
}
