/** A build's line to the lab: what the gate submits, and how it finds the build again, by the key that it made for it. */
import { setTimeout as delay } from "node:timers/promises";
import type { ManagerCalls } from "#/client/calls.ts";
import { dataEvent, firstData, lastData } from "#/client/record-data.ts";
import { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { sendFunction } from "#/exchange/functions.ts";
import { BuildKey } from "#/exchange/key.ts";
import { isCount, type JsonObject, parseObject } from "#/exchange/message.ts";
import { formatSignOfLife, parseReceived } from "#/exchange/send.ts";
import type { JobEvent } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { Results } from "./results.ts";
import type { GateRecord } from "./store.ts";

/** What builds and leases do each in their own way. */
export interface RunLine {
  /** The argument of the Gearman job. */
  argument(): string;
  /** Its events over a lost line; undefined: that agent doesn't know it. @throws ExchangeError, GearmanError */
  ask(manager: string, signal: AbortSignal): Promise<AsyncIterable<JobEvent> | undefined>;
  /** What its agent says. */
  take(data: JsonObject): void;
  /** @throws ExchangeError, GearmanError */
  giveSign(manager: string, calls: ManagerCalls): Promise<void>;
}

const pollIntervalMs = 500;
/** Without the gate for so long, a build is stopped by its agent. */
const gateTimeoutS = 600;
const maxRecordBytes = 8 * 1024 * 1024;

export class BuildLine implements RunLine {
  readonly signer: Signer;
  readonly #record: GateRecord;
  readonly #server: ServerAddress;

  constructor(record: GateRecord, server: ServerAddress) {
    this.signer = new Signer(BuildKey.import(record.key));
    this.#record = record;
    this.#server = server;
  }

  argument(): string {
    const { parameters, uuid, inputs } = this.#record;
    return JSON.stringify({
      ...parameters,
      ZUUL_UUID: uuid,
      LABGEAR_KEY: this.signer.key.publicKey,
      LABGEAR_STREAM: "1",
      LABGEAR_CLIENT_TIMEOUT: String(gateTimeoutS),
      ...(inputs.length > 0 && { LABGEAR_INPUTS: JSON.stringify(inputs) }),
    });
  }

  async ask(manager: string, signal: AbortSignal): Promise<AsyncIterable<JobEvent> | undefined> {
    await using results = new Results(this.#server, this.#record);
    try {
      await results.piece(manager, "record", 0, 1);
      return this.#poll(manager, signal);
    } catch (error) {
      if (error instanceof ExchangeError && error.code === "unknown-build") return undefined;
      throw error;
    }
  }

  /** A submission can't be joined on every server, so its agent is asked again and again. */
  async *#poll(manager: string, signal: AbortSignal): AsyncGenerator<JobEvent> {
    await using results = new Results(this.#server, this.#record);
    while (!signal.aborted) {
      const record = parseObject(await results.text(manager, "record"), maxRecordBytes);
      const { started, ended } = record;
      const lacking = started === undefined && ended === undefined && this.#record.inputs.length > 0;
      const wants = lacking && this.#record.inputs.map((input) => ({ name: input.name, offset: 0 }));
      yield dataEvent({
        ...{ manager, ...firstData(record) },
        ...(wants && { wants, time: this.signer.time }),
        ...(ended !== undefined && lastData(record)),
      });
      if (ended !== undefined) return;
      await delay(pollIntervalMs, undefined, { signal }).catch(() => {});
    }
  }

  take({ time }: JsonObject): void {
    if (isCount(time)) this.signer.learn(time);
  }

  async giveSign(manager: string, calls: ManagerCalls): Promise<void> {
    await this.signer.signed(async (time) => {
      const sign = formatSignOfLife(this.signer.key, this.#record.uuid, time);
      return parseReceived(await calls.call(sendFunction(manager), sign));
    });
  }
}
