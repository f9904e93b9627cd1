/** What a running build gets from its client: the files it lacks, and signs of life. */
import { setTimeout as delay } from "node:timers/promises";
import { ManagerCalls } from "#/client/calls.ts";
import type { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { sendFunction } from "#/exchange/functions.ts";
import { parseWants, type WantedInput } from "#/exchange/inputs.ts";
import { isCount, type JsonObject } from "#/exchange/message.ts";
import { formatSignOfLife, parseReceived } from "#/exchange/send.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { type AnnouncedFile, sendInputs } from "../transfer/inputs.ts";

interface SupplyOptions {
  readonly server: ServerAddress;
  readonly signer: Signer;
  readonly uuid: string;
  readonly files: readonly AnnouncedFile[];
  readonly clientTimeoutMs: number | undefined;
  readonly say: (text: string) => void;
}

/** Three may get lost, or wait behind a piece of an input. */
const signsInTimeout = 4;

/**
 * Sending, for one manager at a time:
 *
 *     idle ──the data says what it wants──▶ sending ──all sent, or refused──▶ idle
 *                                              └──another manager has the build──▶ sending
 */
export class BuildSupply implements AsyncDisposable {
  readonly #options: SupplyOptions;
  readonly #calls: ManagerCalls;
  readonly #over = new AbortController();
  #manager: string | undefined;
  #sending: { readonly to: string; readonly stop: AbortController } | undefined;
  #isAlive = false;
  #said = "";

  constructor(options: SupplyOptions) {
    this.#options = options;
    this.#calls = new ManagerCalls(options.server);
  }

  /** Who has the build now; undefined: nobody has reported it. */
  get manager(): string | undefined {
    return this.#manager;
  }

  /** @param data of the agent that has the build */
  take(data: JsonObject): void {
    const { manager, time } = data;
    if (typeof manager !== "string") return;
    this.#manager = manager;
    if (isCount(time)) this.#options.signer.learn(time);
    void this.#live();
    try {
      const wants = parseWants(data)?.wants ?? [];
      if (wants.length > 0 && this.#sending?.to !== manager) void this.#send(manager, wants);
    } catch (error) {
      if (!(error instanceof ExchangeError)) throw error;
      this.#say(error.message);
    }
  }

  /** Never rejects: the agent ends a build whose files don't come. */
  async #send(manager: string, wants: readonly WantedInput[]): Promise<void> {
    this.#sending?.stop.abort();
    const stop = new AbortController();
    const sending = { to: manager, stop };
    this.#sending = sending;
    const { signer, uuid, files } = this.#options;
    const signal = AbortSignal.any([stop.signal, this.#over.signal]);
    const report = (text: string) => this.#say(text);
    try {
      await sendInputs({ calls: this.#calls, signer, uuid, manager, files, wants, signal, report });
    } catch (error) {
      if (!(error instanceof ExchangeError)) throw error;
      this.#say(`a file can't be sent: ${error.message}`);
    } finally {
      if (this.#sending === sending) this.#sending = undefined;
    }
  }

  /** Gives a sign of life at once, and then several in each timeout. Never rejects. */
  async #live(): Promise<void> {
    const { signer, uuid, clientTimeoutMs: timeoutMs } = this.#options;
    if (timeoutMs === undefined || this.#isAlive) return;
    this.#isAlive = true;
    const { signal } = this.#over;
    while (this.#manager !== undefined && !signal.aborted) {
      const name = sendFunction(this.#manager);
      const give = async (time: number) =>
        parseReceived(await this.#calls.call(name, formatSignOfLife(signer.key, uuid, time)));
      // The next one makes up for a lost one.
      await signer.signed(give).catch(() => {});
      await delay(timeoutMs / signsInTimeout, undefined, { signal }).catch(() => {});
    }
  }

  /** The same isn't said twice in a row. */
  #say(text: string): void {
    if (text === this.#said || this.#over.signal.aborted) return;
    this.#said = text;
    this.#options.say(text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await this.#calls[Symbol.asyncDispose]();
  }
}
