/**
 * Answers `send:`, `fetch:` and `info:`, on a connection of its own: a stop is never behind a file. One piece is in hand at a
 * time, and the next one is asked for behind the answer, so neither this process nor the job server piles them up.
 */
import type { Build } from "#/builds/build.ts";
import type { BuildStore } from "#/builds/store.ts";
import type { Config } from "#/config/model.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { formatFetched, parseFetch } from "#/exchange/fetch.ts";
import { exchangeFunctions, parseExchangeFunction } from "#/exchange/functions.ts";
import { type AgentInfo, formatInfo } from "#/exchange/info.ts";
import { type BuildSelector, parsePublicKey, type Signed, verifySignature } from "#/exchange/key.ts";
import { fetchedFile } from "#/exchange/lease.ts";
import { errorAnswer } from "#/exchange/message.ts";
import { formatReceived, parsePiece } from "#/exchange/send.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { type Job, logWorkerEvents, Worker, type WorkerCounts } from "#/gearman/worker/worker.ts";
import type { Log } from "#/lib/log.ts";
import type { Inputs } from "./inputs.ts";
import type { JobReports } from "./job-report.ts";
import type { Leases } from "./lease/leases.ts";
import { Results } from "./results.ts";
import type { Twins } from "./twins.ts";
import type { SignsOfLife } from "./watchdogs.ts";

export interface ExchangeOptions {
  readonly name: string;
  readonly servers: readonly ServerAddress[];
  readonly store: BuildStore;
  readonly inputs: Inputs;
  readonly leases: Leases;
  readonly signs: SignsOfLife;
  readonly reports: JobReports;
  readonly twins: Twins;
  readonly config: () => Config;
  readonly info: () => AgentInfo;
  readonly counts: WorkerCounts;
  readonly log: Log;
}

export class Exchange implements AsyncDisposable {
  readonly worker: Worker;
  readonly #options: ExchangeOptions;
  readonly #log: Log;
  readonly #results = new Results();

  constructor(options: ExchangeOptions) {
    this.#options = options;
    this.#log = options.log.child({ exchange: options.name });
    this.worker = new Worker({
      servers: options.servers,
      clientId: `${options.name}/exchange`,
      onJob: async (job) => job.complete(await this.#answer(job)),
      onEvent: logWorkerEvents(this.#log, options.counts),
    });
    this.worker.setFunctions(exchangeFunctions(options.name));
  }

  /** A refusal is an answer, too. */
  async #answer(job: Job): Promise<Buffer> {
    try {
      switch (parseExchangeFunction(job.function)) {
        case "send":
          return formatReceived(await this.#send(job.argument));
        case "fetch":
          return await this.#fetch(job);
        case "info":
          return formatInfo(this.#options.info());
        default:
          throw new ExchangeError("malformed", "there is no such function");
      }
    } catch (error) {
      const isRefusal = error instanceof ExchangeError;
      const { message } = error as Error;
      if (isRefusal) this.#log.debug({ function: job.function, code: error.code }, message);
      else this.#log.error({ function: job.function }, `a request can't be answered: ${message}`);
      return errorAnswer(isRefusal ? error : new ExchangeError("unavailable", "the agent can't do it now"));
    }
  }

  async #send(argument: Buffer): Promise<number> {
    const { store, inputs, leases } = this.#options;
    const piece = parsePiece(argument);
    const build = store.findRunning({ uuid: piece.uuid });
    if (!build) throw new ExchangeError("unknown-build", "this manager runs no such build");
    verify(piece.signed, piece.signature, build.record.key);
    this.#heard(build);
    if (piece.name === undefined) return 0;
    return leases.of(build)?.files.take(piece) ?? inputs.take(build, piece);
  }

  async #fetch({ argument, server }: Job): Promise<Buffer> {
    const { store, config, twins, leases } = this.#options;
    const { build: wanted, path, offset, length, signed, signature } = parseFetch(argument);
    // Each piece could be of another one's build.
    if (!("uuid" in wanted) && twins.isAt(server))
      throw new ExchangeError("not-found", "another agent has this one's name: name the build by its uuid");
    const found = store.find(selectorOf(wanted));
    if (!found) throw new ExchangeError("unknown-build", "this manager has no such build");
    const { key } = found.summary;
    const { http, remote } = config();
    const isPublic = path !== fetchedFile && (http.auth === undefined || remote.read);
    if (!isPublic && (signature === undefined || key === undefined)) {
      const who = key === undefined ? "and its client set no key" : "only its client's key opens them";
      const why = "http.auth is set here, and `remote: { read: true }` isn't";
      throw new ExchangeError("unsigned", `its results aren't public (${why}), ${who}`);
    }
    if (signature !== undefined && key !== undefined) {
      verify(signed, signature, key);
      if (found.running) this.#heard(found.running);
    }
    const lease = path === fetchedFile && found.running ? leases.of(found.running) : undefined;
    if (lease) return formatFetched(await lease.files.read(offset, length));
    return formatFetched(await this.#results.read(found, path, offset, length));
  }

  /** What is signed is a sign of life of the build's client, and that it wants the build. */
  #heard(build: Build): void {
    this.#options.signs.heard(build);
    this.#options.reports.heard(build);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.worker[Symbol.asyncDispose]();
  }
}

function selectorOf(build: BuildSelector) {
  return "uuid" in build ? build : { job: build.name, number: build.number };
}

/** @throws ExchangeError */
function verify(signed: Signed, signature: string | undefined, key: string | undefined): void {
  verifySignature(signed, signature, key === undefined ? undefined : parsePublicKey(key), Date.now());
}
