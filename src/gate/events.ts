/**
 * A build as server-sent events (WHATWG HTML, section 9.2), from any place of its console on:
 *
 *     data      where it runs, and `wants` while inputs lack; the last one has `result`, `reason` and `cause`
 *     output    {"output": TEXT, "offset": N}; its id is where the console goes on, for Last-Event-ID
 *     progress  {"percent": N}
 *     queue     {"queued": N, "workers": N, "running": N}, while it waits
 *     end       nothing follows
 */
import { ExchangeError } from "#/exchange/errors.ts";
import { maxPieceBytes } from "#/exchange/message.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { openTail } from "#/lib/text.ts";
import type { BuildRun } from "./build-run.ts";
import { type Exchange, write } from "./exchange.ts";
import type { Lab } from "./lab.ts";
import { Results } from "./results.ts";
import type { GateRecord } from "./store.ts";

const heartbeatIntervalMs = 15_000;
/** Where the output doesn't come by itself. */
const pollIntervalMs = 500;
const queueIntervalMs = 5000;
/** A build that is taken at once needs no word about its wait. */
const firstLookMs = 2000;
/** Of an event's text. */
const maxOutputBytes = 256 * 1024;
/** After its end, for an agent that doesn't answer. */
const maxFailures = 5;

export interface Followed {
  readonly record: GateRecord;
  /** Absent: it had ended before. */
  readonly run?: BuildRun;
  readonly server: ServerAddress | undefined;
  readonly lab: Lab;
}

/** Resolves when the build has ended and all is sent. Rejects when the client has gone. */
export async function sendEvents(exchange: Exchange, build: Followed, from: number): Promise<void> {
  exchange.response.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
  });
  using _watching = build.run?.watch();
  await using stream = new EventStream(exchange, build, from);
  await stream.run();
}

class EventStream implements AsyncDisposable {
  readonly #exchange: Exchange;
  readonly #build: Followed;
  readonly #results: Results | undefined;
  #at: number;
  #generation: number;
  #facts = "";
  #percent = 0;
  #queue = "";
  #queueAt = performance.now() - queueIntervalMs + firstLookMs;
  #writtenAt = performance.now();
  #failures = 0;

  constructor(exchange: Exchange, build: Followed, from: number) {
    this.#exchange = exchange;
    this.#build = build;
    this.#at = from;
    this.#generation = build.run?.output.generation ?? 0;
    this.#results = build.server && new Results(build.server, build.record);
  }

  async run(): Promise<void> {
    const { gone } = this.#exchange;
    await this.#write("retry: 1000\n\n");
    while (!gone.aborted) {
      const hasEnded = this.#build.record.ended !== undefined;
      await this.#sendState();
      if (await this.#sendOutput(hasEnded)) continue;
      if (hasEnded) break;
      await this.#wait();
    }
    await this.#event("data", dataOf(this.#build));
    await this.#event("end", {});
    this.#exchange.response.end();
  }

  async #sendState(): Promise<void> {
    const { run, record } = this.#build;
    const facts = this.#state();
    if (record.facts && facts !== this.#facts) {
      const wants = run && run.wants.length > 0 ? { wants: run.wants, time: run.signer?.time } : {};
      await this.#event("data", { ...record.facts, ...wants });
    }
    this.#facts = facts;
    if (run && run.percent > this.#percent) await this.#event("progress", { percent: run.percent });
    this.#percent = run?.percent ?? this.#percent;
    if (!record.facts && record.ended === undefined) await this.#sendQueue();
  }

  async #sendQueue(): Promise<void> {
    const { lab, server, record } = this.#build;
    if (!server || performance.now() - this.#queueAt < queueIntervalMs) return;
    this.#queueAt = performance.now();
    const queue = await lab.queueOf(server, record.function);
    if (!queue || record.facts) return;
    if (JSON.stringify(queue) !== this.#queue) await this.#event("queue", queue);
    this.#queue = JSON.stringify(queue);
  }

  /** @returns whether there may be more at once */
  async #sendOutput(hasEnded: boolean): Promise<boolean> {
    const { run, record } = this.#build;
    const recent = run?.output;
    if (recent && recent.generation !== this.#generation) {
      this.#generation = recent.generation;
      this.#at = 0;
    }
    const piece = recent?.from(this.#at);
    if (piece) {
      await this.#sendPiece(piece.bytes, true);
      return true;
    }
    const isCurrent = run?.isStreaming === true && this.#at >= run.output.end && !hasEnded;
    if (isCurrent || !record.facts) return false;
    return await this.#fetchOutput(record.facts.manager, hasEnded);
  }

  async #fetchOutput(manager: string, hasEnded: boolean): Promise<boolean> {
    try {
      const fetched = await this.#results?.piece(manager, "console", this.#at, maxPieceBytes);
      if (!fetched) return false;
      this.#failures = 0;
      await this.#sendPiece(fetched.bytes, fetched.end);
      return fetched.bytes.length > 0 && !fetched.end;
    } catch (error) {
      if (!(error instanceof ExchangeError || error instanceof GearmanError)) throw error;
      this.#failures += 1;
      if (error instanceof ExchangeError || !hasEnded) return false;
      return this.#failures < maxFailures;
    }
  }

  /** @param isWhole whether it ends with a whole character */
  async #sendPiece(bytes: Buffer, isWhole: boolean): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const isLast = bytes.length - at <= maxOutputBytes;
      const end = isLast ? bytes.length : at + maxOutputBytes;
      const cut = isLast && isWhole ? 0 : openTail(bytes.subarray(at, end));
      // A character that never ends is text, too.
      const part = bytes.subarray(at, cut < end - at ? end - cut : end);
      const data = { output: part.toString("utf8"), offset: this.#at };
      this.#at += part.length;
      await this.#event("output", data, this.#at);
      at += part.length;
      if (isLast) return;
    }
  }

  async #wait(): Promise<void> {
    const { run } = this.#build;
    const { gone } = this.#exchange;
    const timeoutMs = run?.isStreaming ? queueIntervalMs : pollIntervalMs;
    const signal = AbortSignal.any([gone, AbortSignal.timeout(timeoutMs)]);
    await run?.changed.until(() => this.#hasNews(), signal).catch(() => {});
    if (performance.now() - this.#writtenAt > heartbeatIntervalMs) await this.#write(": \n\n");
  }

  #state(): string {
    return JSON.stringify([this.#build.record.facts, this.#build.run?.wants]);
  }

  #hasNews(): boolean {
    const { run, record } = this.#build;
    if (record.ended !== undefined || this.#state() !== this.#facts) return true;
    return (
      run !== undefined && (run.percent > this.#percent || (run.isStreaming && this.#at < run.output.end))
    );
  }

  async #event(name: string, data: object, id?: number): Promise<void> {
    const line = id === undefined ? "" : `id: ${id}\n`;
    await this.#write(`${line}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  async #write(text: string): Promise<void> {
    await write(this.#exchange, text);
    this.#writtenAt = performance.now();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#results?.[Symbol.asyncDispose]();
  }
}

function dataOf({ record }: Followed): object {
  const { facts, result, reason, cause, ended } = record;
  return {
    ...facts,
    ...(ended !== undefined && {
      ...(result !== undefined && { result }),
      ...(reason !== undefined && { reason }),
      ...(cause !== undefined && { cause }),
    }),
  };
}
