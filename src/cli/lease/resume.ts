/** The events of a lease whose client has lost its line to the job server. */
import { setTimeout as delay } from "node:timers/promises";
import type { ManagerCalls } from "#/client/calls.ts";
import { dataEvent, lastData } from "#/client/record-data.ts";
import type { Signer } from "#/client/signer.ts";
import {
  type ConsolePiece,
  consoleFunction,
  formatConsoleRequest,
  parseConsolePiece,
} from "#/exchange/console.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { leaseJob } from "#/exchange/lease.ts";
import { parseObject } from "#/exchange/message.ts";
import type { JobEvent, Submission } from "#/gearman/client/client.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { askAgent, BuildResults, maxTextBytes } from "../transfer/results.ts";
import type { LeaseAddress } from "./holder.ts";

export interface ResumeOptions {
  readonly signer: Signer;
  readonly calls: ManagerCalls;
  /** The lease that this side holds; undefined: none, or not any more. */
  readonly held: () => LeaseAddress | undefined;
  /** Of the next byte of the board's output. */
  readonly offset: () => number | undefined;
  readonly onSerial: (bytes: Buffer, offset: number) => void;
  readonly say: (text: string) => void;
}

/** How long a lost line may take to come back. */
const lostTimeoutMs = 60_000;
const retryIntervalMs = 500;
const pollIntervalMs = 50;

/**
 * The events of a submission, over a lost line: its agent is asked for the board's output until the lease has ended.
 * @throws GearmanError when the line doesn't come back in time, or no board is held
 */
export async function* steadyEvents(first: Submission, options: ResumeOptions): AsyncGenerator<JobEvent> {
  try {
    return yield* first;
  } catch (error) {
    const lease = options.held();
    if (!(error instanceof GearmanError) || !lease) throw error;
    options.say(`${error.message}; trying to come back`);
    yield* askForEvents(error, lease, options);
  }
}

async function* askForEvents(
  lost: GearmanError,
  lease: LeaseAddress,
  options: ResumeOptions,
): AsyncGenerator<JobEvent> {
  let giveUpAt = performance.now() + lostTimeoutMs;
  let isBack = false;
  for (;;) {
    try {
      const piece = await readOutput(lease, options);
      if (!piece) return yield await readEnding(lease, options);
      if (!isBack) options.say("the line is back, and the board is still yours");
      isBack = true;
      giveUpAt = performance.now() + lostTimeoutMs;
      options.onSerial(piece.bytes, piece.offset);
      if (piece.offset + piece.bytes.length >= piece.end) await delay(pollIntervalMs);
    } catch (error) {
      const isPassing =
        error instanceof GearmanError || (error instanceof ExchangeError && error.code === "unavailable");
      if (!isPassing) throw error;
      isBack = false;
      if (performance.now() > giveUpAt) throw lost;
      await delay(retryIntervalMs);
    }
  }
}

/** @returns undefined: the lease has ended */
async function readOutput(
  { manager, number, session, device }: LeaseAddress,
  { signer, calls, offset }: ResumeOptions,
): Promise<ConsolePiece | undefined> {
  try {
    return await signer.signed(async (time) => {
      const request = formatConsoleRequest(device, offset(), { key: signer.key, number, session, time });
      return parseConsolePiece(await calls.call(consoleFunction(manager), request));
    });
  } catch (error) {
    if (error instanceof ExchangeError && error.code === "unknown-build") return undefined;
    throw error;
  }
}

async function readEnding(
  { manager, number }: LeaseAddress,
  { signer, calls }: ResumeOptions,
): Promise<JobEvent> {
  const build = { name: leaseJob, number };
  const results = new BuildResults(askAgent({ calls, manager, build, signer }));
  for (;;) {
    const record = parseObject(await results.text("record"), maxTextBytes);
    if (record.ended !== undefined) return dataEvent(lastData(record));
    await delay(retryIntervalMs);
  }
}
