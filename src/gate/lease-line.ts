/**
 * A lease's line to the lab. The key is its holder's: what is typed is signed there, and the gate can't type. So over a lost line
 * the gate learns from `info:` whether the lease still runs, and how it ended from the record that its holder fetches.
 */
import { setTimeout as delay } from "node:timers/promises";
import { dataEvent, lastData } from "#/client/record-data.ts";
import { formatLeaseRequest, leaseJob, parseLeaseEvent } from "#/exchange/lease.ts";
import type { JsonObject } from "#/exchange/message.ts";
import type { JobEvent } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import type { RunLine } from "./build-line.ts";
import type { Lab } from "./lab.ts";
import { runUntil } from "./run-limits.ts";
import type { GateRecord, LeaseFacts } from "./store.ts";

export interface LeaseLineOptions {
  readonly record: GateRecord;
  readonly lease: LeaseFacts;
  readonly server: ServerAddress;
  readonly lab: Lab;
  /** Keeps the record. */
  readonly write: () => void;
}

const lookIntervalMs = 1000;
/** For the holder to fetch the record of a lease that has ended. */
const recordTimeoutMs = 15_000;
const unknownEnding = "it ended while the gate couldn't follow it; its box has the record";

export class LeaseLine implements RunLine {
  readonly #options: LeaseLineOptions;
  readonly #holders = new Set<(data: JsonObject) => void>();
  /** The latest of each kind, for a holder that comes later. */
  readonly #latest = new Map<"facts" | "lease" | "lines", JsonObject>();
  #ending: JsonObject | undefined;

  constructor(options: LeaseLineOptions) {
    this.#options = options;
  }

  argument(): string {
    const { record, lease } = this.#options;
    const terms = { forMs: record.runMs, reason: lease.reason, who: lease.who };
    return formatLeaseRequest(terms, lease.publicKey);
  }

  async ask(manager: string, signal: AbortSignal): Promise<AsyncIterable<JobEvent> | undefined> {
    // Without a holder who types, one that has begun meanwhile ends by itself, and is submitted again.
    return this.#options.record.facts ? this.#watch(manager, signal) : undefined;
  }

  async *#watch(manager: string, signal: AbortSignal): AsyncGenerator<JobEvent> {
    const { lab, server } = this.#options;
    let goneAt: number | undefined;
    while (!signal.aborted && this.#ending === undefined) {
      const info = (await lab.infos(server, lookIntervalMs)).find((one) => one.manager === manager);
      const isComplete = info !== undefined && info.nodes.length === info.counts.nodes;
      if (isComplete && !info.nodes.some((node) => this.#isOn(node))) goneAt ??= performance.now();
      if (goneAt !== undefined && performance.now() - goneAt > recordTimeoutMs) break;
      await delay(lookIntervalMs, undefined, { signal }).catch(() => {});
    }
    yield dataEvent(this.#ending ?? { reason: unknownEnding });
  }

  #isOn({ build }: { readonly build?: { readonly name: string; readonly number: number } }): boolean {
    return build?.name === leaseJob && build.number === this.#options.record.facts?.number;
  }

  take(data: JsonObject): void {
    const event = parseLeaseEvent(data);
    const said = event?.kind === "lease" ? { lease: this.#within(event.news) } : data;
    if (data.manager !== undefined) this.#latest.set("facts", data);
    else if (event?.kind === "lease" || event?.kind === "lines") this.#latest.set(event.kind, said);
    for (const holder of this.#holders) holder(said);
  }

  /** Says all that its agent says of it, until it is disposed of; and at once what it said last. */
  follow(holder: (data: JsonObject) => void): Disposable {
    for (const data of this.#latest.values()) holder(data);
    this.#holders.add(holder);
    return { [Symbol.dispose]: () => void this.#holders.delete(holder) };
  }

  /** With the time that the gate leaves it, where the agent would leave it more. */
  #within<T extends { readonly left?: number }>(said: T): T {
    const { left } = said;
    return left === undefined ? said : { ...said, left: this.leftOf(left) };
  }

  /** @param left milliseconds, as the agent says: its time has begun */
  leftOf(left: number): number {
    const { record, lease, write } = this.#options;
    if (lease.begun === undefined) {
      lease.begun = Date.now();
      write();
    }
    const until = runUntil(record) ?? 0;
    return Math.max(0, Math.min(left, until - Date.now()));
  }

  /** The record of the lease at its agent has passed on its way to the holder. */
  learn(record: JsonObject): void {
    if (record.ended !== undefined) this.#ending = lastData(record);
  }

  /** Its holder gives the signs. */
  async giveSign(): Promise<void> {}
}
