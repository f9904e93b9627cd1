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
import { managersWith } from "#/client/registered.ts";
import type { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { infoFunction } from "#/exchange/functions.ts";
import { parseWants, type WantedInput } from "#/exchange/inputs.ts";
import { dataObject, isCount, isLine, type JsonObject } from "#/exchange/message.ts";
import { Client, type JobEvent, type Submission } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { Condition } from "#/lib/condition.ts";
import { reason } from "#/lib/errors.ts";
import type { Log } from "#/lib/log.ts";
import { BuildLine, type RunLine } from "./build-line.ts";
import type { Lab } from "./lab.ts";
import { LeaseLine } from "./lease-line.ts";
import { RecentOutput } from "./recent-output.ts";
import { isGivenUp, limitReached } from "./run-limits.ts";
import { RunStop } from "./run-stop.ts";
import type { BuildFacts, GateRecord, StopReason } from "./store.ts";

const retryIntervalMs = 1000;
const lookIntervalMs = 1000;
const signIntervalMs = 60_000;
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
  /** Absent: it is a lease, and the key is its holder's. */
  readonly signer: Signer | undefined;
  /** Absent: it is no lease. */
  readonly lease: LeaseLine | undefined;
  readonly #options: BuildRunOptions;
  readonly #line: RunLine;
  readonly #calls: ManagerCalls;
  readonly #over = new AbortController();
  readonly #looks: NodeJS.Timeout;
  readonly #stop: RunStop;
  #client: Client | undefined;
  #last: { result?: string; reason?: string; cause?: string } = {};
  /** Of the caller, in Unix milliseconds. */
  #seenAt = Date.now();
  #viewers = 0;
  readonly #ended: Promise<void>;

  /** @param isNew false: it may have been submitted before */
  constructor(options: BuildRunOptions, isNew: boolean) {
    const { record, server, lab, log } = options;
    const { lease } = record;
    this.#options = options;
    this.record = record;
    this.#calls = new ManagerCalls(server);
    if (lease) {
      this.lease = new LeaseLine({ record, lease, server, lab, write: () => this.#write() });
      this.#line = this.lease;
    } else {
      const line = new BuildLine(record, server);
      this.signer = line.signer;
      this.#line = line;
    }
    this.#stop = new RunStop({
      ...{ record, server, lab, log, calls: this.#calls },
      ...{ client: () => this.#client, signal: this.#over.signal },
    });
    this.#looks = setInterval(() => this.#look(), lookIntervalMs);
    if (record.stopping) this.#stop.ask();
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
    this.#stop.ask();
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
        if (this.#stop.isCancelled || this.#isGivenUp()) return this.#end();
      } catch (error) {
        isFirst = false;
        if (signal.aborted) return;
        if (this.#stop.isCancelled) return this.#end();
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
      if (record.stopping) this.#stop.cancel();
      throw new GearmanError("CLOSED", "the build isn't wanted any more");
    }
    client.wantExceptions();
    const submission = await client.submit({
      ...{ function: record.function, unique: record.uuid, priority: record.priority },
      data: this.#line.argument(),
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
    const offered = managersWith(await lab.status(server), infoFunction);
    for (const manager of known === undefined ? offered : offered.filter((name) => name === known)) {
      const events = await this.#line.ask(manager, this.#over.signal);
      if (events) return events;
      if (known === undefined) continue;
      this.#last = { reason: "its agent doesn't know it any more", cause: "lost" };
      this.#end();
      return undefined;
    }
    if (known !== undefined) return undefined;
    if (record.handle !== undefined) {
      await using client = await Client.connect(server);
      if ((await client.status(record.handle)).running) return undefined;
    }
    return await this.#submit();
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
    const { output, offset } = data;
    if (typeof output === "string") {
      if (isCount(offset)) this.output.push(offset, Buffer.from(output));
      return;
    }
    this.#line.take(data);
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
    else if (record.stopping) this.#stop.ask();
  }

  #end(): void {
    const { record } = this;
    if (record.ended !== undefined) return;
    const { stopping } = record;
    const now = Date.now();
    if (this.#stop.isCancelled) this.#last = { result: "ABORTED" };
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

  #isGivenUp(): boolean {
    const { record } = this;
    if (record.ended !== undefined) return true;
    if (!isGivenUp(record, Date.now())) return false;
    this.#last = { reason: "its agent can't be reached", cause: "lost" };
    return true;
  }

  #look(): void {
    const now = Date.now();
    if (this.#viewers > 0) this.#seenAt = now;
    const reached = limitReached(this.record, now, this.#seenAt);
    if (reached) this.stop(reached);
  }

  /** Signs of life to its agent, for as long as the gate follows it. Never rejects. */
  async #live(): Promise<void> {
    const { signal } = this.#over;
    while (!signal.aborted && this.record.ended === undefined) {
      const manager = this.record.facts?.manager;
      if (manager !== undefined) await this.#line.giveSign(manager, this.#calls).catch(() => {});
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
