/** Stops what the gate has submitted, or takes it out of the queue: asked for until it has ended. */
import { setTimeout as delay } from "node:timers/promises";
import type { ManagerCalls } from "#/client/calls.ts";
import { managersWith } from "#/client/registered.ts";
import { Admin } from "#/gearman/client/admin.ts";
import type { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { reason } from "#/lib/errors.ts";
import type { Log } from "#/lib/log.ts";
import { stopFunction } from "#/zuul/functions.ts";
import type { Lab } from "./lab.ts";
import type { GateRecord } from "./store.ts";

const stopIntervalMs = 3000;

export interface RunStopOptions {
  readonly record: GateRecord;
  readonly server: ServerAddress;
  readonly lab: Lab;
  readonly log: Log;
  readonly calls: ManagerCalls;
  /** The one that has submitted it. */
  readonly client: () => Client | undefined;
  /** Aborts when it has ended, or isn't followed any more. */
  readonly signal: AbortSignal;
}

export class RunStop {
  readonly #options: RunStopOptions;
  #isAsked = false;
  #isCancelled = false;

  constructor(options: RunStopOptions) {
    this.#options = options;
  }

  /** Whether it was taken out of the queue. */
  get isCancelled(): boolean {
    return this.#isCancelled;
  }

  /** It wasn't submitted yet. */
  cancel(): void {
    this.#isCancelled = true;
  }

  /** Goes on until it has ended. */
  ask(): void {
    if (this.#isAsked) return;
    this.#isAsked = true;
    void this.#askAgain();
  }

  /** Never rejects. */
  async #askAgain(): Promise<void> {
    const { record, log, signal } = this.#options;
    while (record.ended === undefined && !signal.aborted) {
      await this.#try().catch((error: unknown) => {
        log.debug({ uuid: record.uuid }, `a build isn't stopped yet: ${reason(error)}`);
      });
      await delay(stopIntervalMs, undefined, { signal }).catch(() => {});
    }
  }

  async #try(): Promise<void> {
    const { record, server, lab, calls } = this.#options;
    const { facts, handle, uuid } = record;
    const data = Buffer.from(JSON.stringify({ uuid }));
    if (facts) return void (await calls.call(stopFunction(facts.manager), data));
    const client = this.#options.client();
    if (handle === undefined || !client) return;
    if ((await client.status(handle)).running) return;
    await using admin = await Admin.connect(server);
    await admin.cancelJob(handle).catch((error: unknown) => {
      if (!(error instanceof GearmanError)) throw error;
    });
    this.#isCancelled = true;
    // All servers drop a queued job whose client has left.
    await client[Symbol.asyncDispose]();
    // It may have been handed out just before.
    const managers = managersWith(await lab.status(server), stopFunction);
    for (const manager of managers) await calls.call(stopFunction(manager), data).catch(() => {});
  }
}
