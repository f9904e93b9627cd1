/** Ends what builds have left outside of the unit, and logs what would start it again. The helper does it, which may. */
import type { Helper } from "#/helper/client.ts";
import type { Log } from "#/lib/log.ts";

export class Outsiders {
  readonly #helper: Helper;
  readonly #log: Log;
  /** What can't be ended is logged once. */
  readonly #logged = new Set<string>();

  constructor(helper: Helper, log: Log) {
    this.#helper = helper;
    this.#log = log;
  }

  /** @throws HelperError */
  async end(): Promise<void> {
    const { killed, starters } = await this.#helper.endOutsiders();
    for (const { pid, user, command } of killed)
      this.#log.error({ pid, user }, `killed process ${pid} (${command}) of ${user}, outside of the unit`);
    for (const text of starters.filter((one) => !this.#logged.has(one))) {
      this.#log.error({}, `${text}; \`labgear doctor\` says how to remove it`);
      this.#logged.add(text);
    }
  }
}
