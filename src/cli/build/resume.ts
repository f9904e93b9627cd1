/** The events of a build whose client has lost its line to the job server. */
import { setTimeout as delay } from "node:timers/promises";
import { dataEvent, firstData, lastData } from "#/client/record-data.ts";
import { askServer, managersWith } from "#/client/registered.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { fetchFunction } from "#/exchange/functions.ts";
import type { WantedInput } from "#/exchange/inputs.ts";
import { parseObject } from "#/exchange/message.ts";
import type { JobEvent, Submission } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { type BuildResults, maxTextBytes } from "../transfer/results.ts";
import type { ShownConsole } from "./console.ts";

export interface ResumeOptions {
  readonly server: ServerAddress;
  /** Where it was running at last; undefined: it was queued, as far as this side knows. */
  readonly manager: () => string | undefined;
  readonly resultsAt: (manager: string) => BuildResults;
  /** What it may still lack when its agent is found again. */
  readonly wants: () => readonly WantedInput[];
  /** The agent's, in Unix milliseconds. */
  readonly time: () => number;
  readonly console: ShownConsole;
  /** Whether this side has ended the line: nothing more is to come. */
  readonly hasLeft: () => boolean;
  /** Whether the job server has handed the build to a worker. */
  readonly isHandedOut: () => Promise<boolean>;
  /** Submits the build once more. */
  readonly resubmit: () => Promise<Submission>;
  readonly say: (text: string) => void;
  /** How long to try to come back. */
  readonly lostTimeoutMs: number;
}

const retryIntervalMs = 1000;
const pollIntervalMs = 1000;

/**
 * The events of a submission to the build's end, over lost lines. A build that has begun is never submitted again, since it
 * might have ended meanwhile and would run once more: its agent is asked for its record, and for its console until it has ended.
 *
 *     submitted ──line lost──▶ lost ──an agent knows the build──▶ asking ──its record has an end──▶ ended
 *        ▲                     │  ▲                                  │
 *        └──no agent knows it──┘  └────────────line lost─────────────┘
 *
 * @throws GearmanError, ExchangeError when it doesn't come back in time
 */
export async function* steadyEvents(first: Submission, options: ResumeOptions): AsyncGenerator<JobEvent> {
  let source: AsyncIterable<JobEvent> = first;
  for (;;) {
    try {
      return yield* source;
    } catch (error) {
      if (!isPassing(error)) throw error;
      if (options.hasLeft()) return;
      source = await comeBack(error, options);
    }
  }
}

async function comeBack(
  lost: GearmanError | ExchangeError,
  options: ResumeOptions,
): Promise<AsyncIterable<JobEvent>> {
  const { say, lostTimeoutMs } = options;
  say(`${lost.message}; trying to come back`);
  const giveUpAt = performance.now() + lostTimeoutMs;
  for (;;) {
    try {
      const manager = await findBuild(options);
      if (manager === elsewhere) throw lost;
      say(
        manager ? "the line is back, and the build is there" : "the line is back; the build is queued again",
      );
      return manager ? askForEvents(manager, options) : await options.resubmit();
    } catch (error) {
      if (!isPassing(error)) throw error;
      if (performance.now() > giveUpAt) throw lost;
      await delay(retryIntervalMs);
    }
  }
}

/** Whether another try may be better. */
function isPassing(error: unknown): error is GearmanError | ExchangeError {
  return error instanceof GearmanError || error instanceof ExchangeError;
}

const elsewhere = Symbol("the agent that has it can't be asked now");

/**
 * @returns the manager; undefined: it was queued, and went with its client
 * @throws GearmanError, ExchangeError
 */
async function findBuild(options: ResumeOptions): Promise<string | typeof elsewhere | undefined> {
  const { server, resultsAt } = options;
  const offered = managersWith(await askServer(server), fetchFunction);
  const known = options.manager();
  const managers = known === undefined ? offered : offered.filter((manager) => manager === known);
  for (const manager of managers) {
    try {
      await resultsAt(manager).piece("record", 0, 1);
      return manager;
    } catch (error) {
      if (!(error instanceof ExchangeError && error.code === "unknown-build")) throw error;
    }
  }
  // gearmand doesn't join a build to one whose only client was lost: it would run twice.
  return known !== undefined || (await options.isHandedOut()) ? elsewhere : undefined;
}

/** Each question is signed, which keeps a build alive that has lost its job server. */
async function* askForEvents(manager: string, options: ResumeOptions): AsyncGenerator<JobEvent> {
  const { console, resultsAt, wants, time } = options;
  const results = resultsAt(manager);
  const askRecord = async () => parseObject(await results.text("record"), maxTextBytes);
  yield dataEvent({ ...firstData(await askRecord()), manager, wants: wants(), time: time() });
  for (;;) {
    const { bytes, end } = await results.piece("console", console.offset);
    console.takeBytes(bytes);
    const record = end ? await askRecord() : undefined;
    if (record?.ended !== undefined) return yield dataEvent(lastData(record));
    if (bytes.length === 0) await delay(pollIntervalMs);
  }
}
