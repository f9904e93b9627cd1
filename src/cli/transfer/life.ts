/** Signs of life, by which an agent knows that a build's client is still there. */
import { setTimeout as delay } from "node:timers/promises";
import { sendFunction } from "#/exchange/functions.ts";
import { formatSignOfLife, parseReceived } from "#/exchange/send.ts";
import type { ManagerCalls } from "./calls.ts";
import type { Signer } from "./signer.ts";

/** Three may get lost, or wait behind a piece of an input. */
const signsInTimeout = 4;

/**
 * Sends one at once, and then several in each timeout, until the signal.
 * @param manager who runs the build at that moment; undefined: not known
 */
export async function giveSignsOfLife(options: {
  readonly calls: ManagerCalls;
  readonly signer: Signer;
  readonly uuid: string;
  readonly manager: () => string | undefined;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { calls, signer, uuid, timeoutMs, signal } = options;
  while (!signal.aborted) {
    const manager = options.manager();
    const give = async (time: number) =>
      parseReceived(await calls.call(sendFunction(manager ?? ""), formatSignOfLife(signer.key, uuid, time)));
    // A lost one is made up for by the next.
    if (manager !== undefined) await signer.signed(give).catch(() => {});
    await delay(timeoutMs / signsInTimeout, undefined, { signal }).catch(() => {});
  }
}
