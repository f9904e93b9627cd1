/** Signs a build's requests by the agent's clock, and learns that clock from its answers. */
import { ExchangeError } from "#/exchange/errors.ts";
import type { BuildKey } from "#/exchange/key.ts";

export class Signer {
  readonly key: BuildKey;
  /** How far the agent's clock is ahead of ours. */
  #aheadMs = 0;

  constructor(key: BuildKey) {
    this.key = key;
  }

  /** The agent's time, in Unix milliseconds. */
  get time(): number {
    return Date.now() + this.#aheadMs;
  }

  learn(agentTime: number): void {
    this.#aheadMs = agentTime - Date.now();
  }

  /** Does it again, once, when the agent's clock turns out to be another one. */
  async signed<T>(request: (time: number) => Promise<T>): Promise<T> {
    try {
      return await request(this.time);
    } catch (error) {
      if (!(error instanceof ExchangeError) || error.code !== "clock" || error.facts.time === undefined)
        throw error;
      this.learn(error.facts.time);
      return await request(this.time);
    }
  }
}
