/**
 * A build between its submission and its end, as the gate follows it:
 *
 *     recorded ──submitted──▶ queued ──first data──▶ running ──last data──▶ ended
 *        ▲          │            │                      │
 *        └──────────┴─line lost, or a new start: agents are asked first, and only what none of them knows is submitted again
 *
 * A stop (the caller's, or a limit of the rule) is asked for until the build has ended.
 */
import { setTimeout as delay } from "node:timers/promises";
import { ManagerCalls } from "#/client/calls.ts";
import { dataEvent, firstData, lastData } from "#/client/record-data.ts";
import { managersWith } from "#/client/registered.ts";
import { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { fetchFunction, sendFunction } from "#/exchange/functions.ts";
import { parseWants, type WantedInput } from "#/exchange/inputs.ts";
import { BuildKey } from "#/exchange/key.ts";
import { dataObject, isCount, isLine, type JsonObject, parseObject } from "#/exchange/message.ts";
import { formatSignOfLife, parseReceived } from "#/exchange/send.ts";
import { Admin } from "#/gearman/client/admin.ts";
import { Client, type JobEvent, type Submission } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { Condition } from "#/lib/condition.ts";
import { reason } from "#/lib/errors.ts";
import type { Log } from "#/lib/log.ts";
import { formatDuration } from "#/lib/units.ts";
import { stopFunction } from "#/zuul/functions.ts";
import type { Lab } from "./lab.ts";
import { RecentOutput } from "./recent-output.ts";
import { Results } from "./results.ts";
import type { BuildFacts, GateRecord, StopReason } from "./store.ts";

const retryIntervalMs = 1000;
const pollIntervalMs = 500;
const stopIntervalMs = 3000;
const lookIntervalMs = 1000;
const signIntervalMs = 60_000;
/** Without the gate for so long, a build is stopped by its agent. */
const gateTimeoutS = 600;
/** How long the gate looks for a build that it stopped, or whose time is over, before it gives it up. */
const lostTimeoutMs = 15 * 60 * 1000;
const maxRecordBytes = 8 * 1024 * 1024;
const minuteMs = 60_000;

export interface BuildRunOptions {
  readonly record: GateRecord;
  readonly server: ServerAddress;
  readonly lab: Lab;
  readonly log: Log;
  /** Keeps the record. */
  readonly write: (record: GateRecord) => void;
}

export class BuildRun implements AsyncDisposable {
  readonly record: GateRecord;
  readonly output = new RecentOutput();
  readonly changed = new Condition();
  /** Whether the output comes by itself; otherwise viewers ask the agent. */
  isStreaming = false;
  percent = 0;
  wants: readonly WantedInput[] = [];
  readonly #options: BuildRunOptions;
  readonly #signer: Signer;
  readonly #calls: ManagerCalls;
  readonly #over = new AbortController();
  readonly #looks: NodeJS.Timeout;
  #client: Client | undefined;
  #last: { result?: string; reason?: string; cause?: string } = {};
  /** Of the caller, in Unix milliseconds. */
  #seenAt = Date.now();
  #viewers = 0;
  #isStopping = false;
  #isCancelled = false;
  readonly #ended: Promise<void>;

  /** @param isNew false: it may have been submitted before */
  constructor(options: BuildRunOptions, isNew: boolean) {
    this.#options = options;
    this.record = options.record;
    this.#signer = new Signer(BuildKey.import(options.record.key));
    this.#calls = new ManagerCalls(options.server);
    this.#looks = setInterval(() => this.#look(), lookIntervalMs);
    if (this.record.stopping) this.#stop();
    this.#ended = this.#run(isNew).catch((error: Error) => {
      options.log.error({ uuid: this.record.uuid }, `a build can't be followed: ${error.stack}`);
      // Without a sign of life its agent stops it.
      this.#last = { reason: "the gate can't follow it", cause: "gate" };
      this.#end();
    });
    void this.#live();
  }

  /** Resolves when the build has ended, or this was disposed of. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  get signer(): Signer {
    return this.#signer;
  }

  /** The caller has asked for something. */
  seen(): void {
    this.#seenAt = Date.now();
  }

  /** The caller follows it until this is disposed of. */
  watch(): Disposable {
    this.#viewers += 1;
    return {
      [Symbol.dispose]: () => {
        this.#viewers -= 1;
        this.seen();
      },
    };
  }

  stop(why: StopReason): void {
    if (this.record.stopping || this.record.ended !== undefined) return;
    this.record.stopping = why;
    this.#write();
    this.#stop();
  }

  async #run(isNew: boolean): Promise<void> {
    const { signal } = this.#over;
    let isFirst = isNew;
    while (!signal.aborted) {
      try {
        const events = isFirst ? await this.#submit() : await this.#comeBack();
        isFirst = false;
        if (events) {
          for await (const event of events) this.#take(event);
          if (!signal.aborted) this.#end();
          return;
        }
        if (this.#isCancelled || this.#isGivenUp()) return this.#end();
      } catch (error) {
        isFirst = false;
        if (signal.aborted) return;
        if (this.#isCancelled) return this.#end();
        if (!(error instanceof GearmanError || error instanceof ExchangeError)) throw error;
        this.#options.log.debug({ uuid: this.record.uuid }, `a build's line is lost: ${error.message}`);
      } finally {
        this.isStreaming = false;
        this.changed.wake();
      }
      await delay(retryIntervalMs, undefined, { signal }).catch(() => {});
    }
  }

  async #submit(): Promise<Submission> {
    const { record } = this;
    await this.#client?.[Symbol.asyncDispose]();
    const client = await Client.connect(this.#options.server);
    this.#client = client;
    if (this.#over.signal.aborted || record.stopping) {
      await client[Symbol.asyncDispose]();
      this.#isCancelled = record.stopping !== undefined;
      throw new GearmanError("CLOSED", "the build isn't wanted any more");
    }
    client.wantExceptions();
    const parameters = {
      ...record.parameters,
      ZUUL_UUID: record.uuid,
      LABGEAR_KEY: this.#signer.key.publicKey,
      LABGEAR_STREAM: "1",
      LABGEAR_CLIENT_TIMEOUT: String(gateTimeoutS),
      ...(record.inputs.length > 0 && { LABGEAR_INPUTS: JSON.stringify(record.inputs) }),
    };
    const submission = await client.submit({
      ...{ function: record.function, unique: record.uuid, priority: record.priority },
      data: JSON.stringify(parameters),
    });
    record.handle = submission.handle;
    this.#write();
    this.isStreaming = true;
    return submission;
  }

  /** @returns undefined: nothing can be said yet */
  async #comeBack(): Promise<AsyncIterable<JobEvent> | undefined> {
    const { lab, server } = this.#options;
    const { record } = this;
    const known = record.facts?.manager;
    const offered = managersWith(await lab.status(server), fetchFunction);
    await using results = new Results(server, record);
    for (const manager of known === undefined ? offered : offered.filter((name) => name === known)) {
      try {
        await results.piece(manager, "record", 0, 1);
        return this.#ask(manager);
      } catch (error) {
        if (!(error instanceof ExchangeError && error.code === "unknown-build")) throw error;
        if (known !== undefined) {
          this.#last = { reason: "its agent doesn't know it any more", cause: "lost" };
          this.#end();
          return undefined;
        }
      }
    }
    if (known !== undefined) return undefined;
    if (record.handle !== undefined) {
      await using client = await Client.connect(server);
      if ((await client.status(record.handle)).running) return undefined;
    }
    return await this.#submit();
  }

  /** Polls a build whose line was lost: it can't be joined on every server. */
  async *#ask(manager: string): AsyncGenerator<JobEvent> {
    await using results = new Results(this.#options.server, this.record);
    while (!this.#over.signal.aborted) {
      const record = parseObject(await results.text(manager, "record"), maxRecordBytes);
      const { started, ended } = record;
      const lacking = started === undefined && ended === undefined && this.record.inputs.length > 0;
      const wants = lacking && this.record.inputs.map((input) => ({ name: input.name, offset: 0 }));
      yield dataEvent({
        ...{ manager, ...firstData(record) },
        ...(wants && { wants, time: this.#signer.time }),
        ...(ended !== undefined && lastData(record)),
      });
      if (ended !== undefined) return;
      await delay(pollIntervalMs, undefined, { signal: this.#over.signal }).catch(() => {});
    }
  }

  #take(event: JobEvent): void {
    if (event.type === "status" && event.denominator > 0) {
      this.percent = Math.max(0, Math.min(100, Math.floor((100 * event.numerator) / event.denominator)));
    } else if (event.type === "data" || event.type === "complete") {
      this.#takeObject(dataObject(event.data));
    } else if (event.type === "exception") {
      this.#last = { result: "FAILURE", reason: event.data.toString().slice(0, 1000), ...this.#last };
    }
    this.changed.wake();
  }

  #takeObject(data: JsonObject): void {
    const { output, offset, time } = data;
    if (typeof output === "string") {
      if (isCount(offset)) this.output.push(offset, Buffer.from(output));
      return;
    }
    if (isCount(time)) this.#signer.learn(time);
    const facts = factsOf(data);
    if (facts) this.#began(facts);
    this.wants = wantsOf(data);
    for (const key of ["result", "reason", "cause"] as const) {
      const value = data[key];
      if (typeof value === "string") this.#last[key] = value.slice(0, 4096);
    }
  }

  #began(facts: BuildFacts): void {
    const { record } = this;
    if (record.facts?.manager === facts.manager && record.facts.number === facts.number) return;
    // An agent that dies gives the build back to the queue, and another one has it now.
    if (record.facts) this.output.reset();
    record.facts = facts;
    record.started ??= Date.now();
    this.#write();
    if (!record.managers.includes(facts.manager))
      this.stop({
        cause: "node",
        reason: `it was taken by ${facts.manager}, which hadn't said what its job is`,
      });
    else if (record.stopping) this.#stop();
  }

  #end(): void {
    const { record } = this;
    if (record.ended !== undefined) return;
    const { stopping } = record;
    const now = Date.now();
    if (this.#isCancelled) this.#last = { result: "ABORTED" };
    const last = { ...this.#last };
    if (stopping && last.result !== "SUCCESS" && last.result !== "FAILURE") {
      last.result = stopping.cause === "run" ? "TIMED_OUT" : "ABORTED";
      if (stopping.cause !== "stopped" || last.reason === undefined) Object.assign(last, stopping);
    } else if (!record.facts && last.result === undefined && last.reason === undefined) {
      last.reason =
        "it left the queue before a node began it: somebody cancelled it, or the job server dropped it";
    }
    Object.assign(record, last);
    record.ended = now;
    record.minutes = record.started === undefined ? 0 : Math.ceil((now - record.started) / minuteMs);
    this.#write();
    clearInterval(this.#looks);
    this.changed.wake();
  }

  /** Its agent doesn't come back, and the time it may take is long over. */
  #isGivenUp(): boolean {
    const { record } = this;
    const until = (record.started ?? record.queueUntil) + record.runMs + lostTimeoutMs;
    if (record.ended !== undefined || Date.now() < until) return record.ended !== undefined;
    this.#last = { reason: "its agent can't be reached", cause: "lost" };
    return true;
  }

  /** Looks at every limit. */
  #look(): void {
    const { started, queueUntil, runMs, clientTimeoutMs, created } = this.record;
    const now = Date.now();
    if (this.#viewers > 0) this.#seenAt = now;
    if (started === undefined && now > queueUntil) {
      const waited = formatDuration(queueUntil - created);
      this.stop({ cause: "queue", reason: `no node has taken it within ${waited}` });
    } else if (started !== undefined && now > started + runMs) {
      this.stop({
        cause: "run",
        reason: `it took longer than ${formatDuration(runMs)}, which the gate allows`,
      });
    } else if (clientTimeoutMs !== undefined && now > this.#seenAt + clientTimeoutMs) {
      const silent = formatDuration(clientTimeoutMs);
      this.stop({ cause: "client-gone", reason: `its client has given no sign of life for ${silent}` });
    }
  }

  /** Tries until it has ended. Never rejects. */
  #stop(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    void (async () => {
      const { signal } = this.#over;
      while (this.record.ended === undefined && !signal.aborted) {
        await this.#tryToStop().catch((error: unknown) => {
          this.#options.log.debug({ uuid: this.record.uuid }, `a build isn't stopped yet: ${reason(error)}`);
        });
        await delay(stopIntervalMs, undefined, { signal }).catch(() => {});
      }
    })();
  }

  async #tryToStop(): Promise<void> {
    const { facts, handle, uuid } = this.record;
    const data = Buffer.from(JSON.stringify({ uuid }));
    if (facts) return void (await this.#calls.call(stopFunction(facts.manager), data));
    if (handle === undefined || !this.#client) return;
    if ((await this.#client.status(handle)).running) return;
    await using admin = await Admin.connect(this.#options.server);
    await admin.cancelJob(handle).catch((error: unknown) => {
      if (!(error instanceof GearmanError)) throw error;
    });
    this.#isCancelled = true;
    // All servers drop a queued job whose client has left.
    await this.#client[Symbol.asyncDispose]();
    // It may have been handed out just before.
    const managers = managersWith(await this.#options.lab.status(this.#options.server), stopFunction);
    for (const manager of managers) await this.#calls.call(stopFunction(manager), data).catch(() => {});
  }

  /** Signs of life to its agent, for as long as the gate follows it. Never rejects. */
  async #live(): Promise<void> {
    const { signal } = this.#over;
    while (!signal.aborted && this.record.ended === undefined) {
      const manager = this.record.facts?.manager;
      const give = async (time: number) => {
        const sign = formatSignOfLife(this.#signer.key, this.record.uuid, time);
        return parseReceived(await this.#calls.call(sendFunction(manager ?? ""), sign));
      };
      if (manager !== undefined) await this.#signer.signed(give).catch(() => {});
      await delay(signIntervalMs, undefined, { signal }).catch(() => {});
    }
  }

  #write(): void {
    try {
      this.#options.write(this.record);
    } catch (error) {
      this.#options.log.error({ uuid: this.record.uuid }, `a build can't be written down: ${reason(error)}`);
    }
  }

  /** Leaves the build as it is. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    clearInterval(this.#looks);
    await this.#client?.[Symbol.asyncDispose]();
    await this.#calls[Symbol.asyncDispose]();
    await this.#ended;
  }
}

function factsOf({ manager, name, number, node_name, url }: JsonObject): BuildFacts | undefined {
  if (!isLine(manager, 255) || !isLine(name, 255) || !isCount(number)) return undefined;
  return {
    manager,
    name,
    number,
    ...(isLine(node_name, 255) && { node_name }),
    ...(isLine(url, 2048) && { url }),
  };
}

function wantsOf(data: JsonObject): readonly WantedInput[] {
  try {
    return parseWants(data)?.wants ?? [];
  } catch {
    return [];
  }
}
