/** The events of a lease whose client has lost its line to the job server, or to the gate. */
import { setTimeout as delay } from "node:timers/promises";
import type { Calls } from "#/client/calls.ts";
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
import type { JobEvent } from "#/gearman/client/client.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { askAgent, BuildResults, maxTextBytes } from "../transfer/results.ts";
import type { LeaseAddress } from "./holder.ts";

export interface ResumeOptions {
  readonly signer: Signer;
  readonly calls: Calls;
  /** The lease, as soon as an agent has it. */
  readonly address: () => LeaseAddress | undefined;
  /** Whether its board is this side's: it has begun. */
  readonly isHeld: () => boolean;
  /** Whether this side has given it up. */
  readonly hasLeft: () => boolean;
  /** Queues for a board once more: a job that waits goes with its line. */
  readonly submitAgain: () => Promise<AsyncIterable<JobEvent>>;
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
 * The events of a submission, over lost lines: once an agent has the lease it is asked, for the board's output or for the end.
 *
 *     queued ──line lost──▶ lost ──the server is back──▶ queued
 *     with an agent ──line lost──▶ asking ──its record has an end──▶ ended
 *
 * @throws GearmanError when the line doesn't come back in time
 */
export async function* steadyEvents(
  first: AsyncIterable<JobEvent>,
  options: ResumeOptions,
): AsyncGenerator<JobEvent> {
  for (let events = first; ; ) {
    try {
      return yield* events;
    } catch (error) {
      if (!(error instanceof GearmanError)) throw error;
      const lease = options.address();
      if (!lease && options.hasLeft()) return;
      options.say(`${error.message}; trying to come back`);
      if (lease) return yield* askForEvents(error, lease, options);
      const again = await queueAgain(error, options);
      if (!again) return;
      events = again;
    }
  }
}

/** @returns undefined: this side has given up meanwhile. @throws GearmanError */
async function queueAgain(
  lost: GearmanError,
  { submitAgain, hasLeft, say }: ResumeOptions,
): Promise<AsyncIterable<JobEvent> | undefined> {
  const giveUpAt = performance.now() + lostTimeoutMs;
  while (!hasLeft()) {
    try {
      const submitted = await submitAgain();
      say("the line is back: waiting in the queue again");
      return submitted;
    } catch (error) {
      if (!(error instanceof GearmanError)) throw error;
      if (performance.now() > giveUpAt) throw lost;
      await delay(retryIntervalMs);
    }
  }
  return undefined;
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
      const piece = options.isHeld() ? await readOutput(lease, options) : undefined;
      const ending = piece ? undefined : await readEnding(lease, options);
      if (ending) return yield ending;
      if (!isBack)
        options.say(
          `the line is back, and the board is still ${options.isHeld() ? "yours" : "being made ready"}`,
        );
      isBack = true;
      giveUpAt = performance.now() + lostTimeoutMs;
      if (!piece) {
        await delay(retryIntervalMs);
        continue;
      }
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

/** @returns undefined: it hasn't ended yet */
async function readEnding(
  { manager, number }: LeaseAddress,
  { signer, calls }: ResumeOptions,
): Promise<JobEvent | undefined> {
  const build = { name: leaseJob, number };
  const results = new BuildResults(askAgent({ calls, manager, build, signer }));
  const record = parseObject(await results.text("record"), maxTextBytes);
  return record.ended === undefined ? undefined : dataEvent(lastData(record));
}
