/** Ends what builds have left outside of the unit, and logs what would start it again. */
import { readFile } from "node:fs/promises";
import { type Account, lackingCapabilities, untrustedAccounts } from "#/host/accounts.ts";
import { findStarters, outsideProcesses, unitOf } from "#/host/outsiders.ts";
import { describeProcess, signalProcess } from "#/host/proc.ts";
import type { Log } from "#/lib/log.ts";

export class Outsiders {
  readonly #accounts: readonly Account[];
  readonly #unit: string;
  readonly #log: Log;
  /** What can't be ended is logged once. */
  readonly #logged = new Set<string>();

  private constructor(accounts: readonly Account[], unit: string, log: Log) {
    this.#accounts = accounts;
    this.#unit = unit;
    this.#log = log;
  }

  /** Undefined where builds have no users of their own, or no control group to be outside of. */
  static async watch(log: Log): Promise<Outsiders | undefined> {
    const accounts = await untrustedAccounts();
    const unit = await unitOf("self");
    if (accounts.length === 0 || unit === undefined || process.getuid?.() === 0) return undefined;
    if (lackingCapabilities(await readFile("/proc/self/status", "latin1")).length > 0) return undefined;
    return new Outsiders(accounts, unit, log);
  }

  async end(): Promise<void> {
    for (const { user, stat } of await outsideProcesses(this.#accounts, this.#unit)) {
      const { pid, command } = await describeProcess(stat);
      if (await signalProcess(stat, "SIGKILL"))
        this.#log.error({ pid, user }, `killed process ${pid} (${command}) of ${user}, outside of the unit`);
    }
    const { found } = await findStarters(this.#accounts);
    for (const text of found.filter((one) => !this.#logged.has(one))) {
      this.#log.error({}, `${text}; \`labgear doctor\` says how to remove it`);
      this.#logged.add(text);
    }
  }
}
