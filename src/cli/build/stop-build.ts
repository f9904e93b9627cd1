/** Stops a build that this client has submitted, or takes it out of the queue. */
import { setTimeout as delay } from "node:timers/promises";
import { Admin } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { stopFunction } from "#/zuul/functions.ts";
import { CommandError } from "../exit.ts";
import { askAllManagers, askManager } from "../stop.ts";
import type { Line } from "./line.ts";

const askIntervalMs = 1000;
const maxStopMs = 5 * 60 * 1000;

export class BuildStop {
  readonly #server: ServerAddress;
  readonly #line: Line;
  readonly #uuid: string;
  #left = false;

  constructor(server: ServerAddress, line: Line, uuid: string) {
    this.#server = server;
    this.#line = line;
    this.#uuid = uuid;
  }

  /** See FollowOptions. */
  async try(manager: string | undefined, attempt: number): Promise<"stopping" | "cancelled" | "unreported"> {
    try {
      return await this.#overLine(manager, attempt);
    } catch (error) {
      const isLost = error instanceof GearmanError && error.code === "CLOSED";
      if (!isLost || manager === undefined) throw error;
      await askManager(this.#server, manager, this.#uuid);
      return "stopping";
    }
  }

  async #overLine(
    manager: string | undefined,
    attempt: number,
  ): Promise<"stopping" | "cancelled" | "unreported"> {
    const { client, handle } = this.#line;
    const [server, uuid] = [this.#server, this.#uuid];
    // A background job: it arrives even if a second Ctrl-C ends this process at once. The unique joins it to an earlier one.
    const ask = { data: JSON.stringify({ uuid }), unique: `stop-${uuid}`.slice(0, 64), background: true };
    const asked = manager
      ? client.submit({ function: stopFunction(manager), priority: "high", ...ask })
      : Promise.resolve();
    asked.catch(() => {});
    // The agent that it ran on may be gone, and the build is queued again.
    if (!(await client.status(handle)).running) {
      await this.#cancel(handle);
      this.#left = true;
      return "cancelled";
    }
    if (manager === undefined) return "unreported";
    await asked;
    // Of agents that share the name, another may have taken that one.
    if (attempt > 1) await askManager(server, manager, uuid);
    return "stopping";
  }

  async #cancel(handle: string): Promise<void> {
    await using admin = await Admin.connect(this.#server);
    try {
      await admin.cancelJob(handle);
    } catch (error) {
      if (!(error instanceof GearmanError) || !isUnable(error)) throw error;
      await this.#line.leave();
    }
  }

  /**
   * Once a build was cancelled: gearmand also cancels one that has just begun, without a word to its worker, and servers that can't
   * cancel may have handed it out. Returns when no agent has it.
   * @throws CommandError failure when one doesn't stop it
   */
  async makeSure(): Promise<void> {
    if (!this.#left) return;
    const giveUpAt = performance.now() + maxStopMs;
    while (await askAllManagers(this.#server, this.#uuid)) {
      if (performance.now() > giveUpAt)
        throw new CommandError("failure", `build ${this.#uuid} had begun meanwhile and isn't stopped yet`);
      await delay(askIntervalMs);
    }
  }
}

/** geard never answers a command that it doesn't know; gearmand before 1.1.19 and the Perl server refuse this one. */
function isUnable({ code, message }: GearmanError): boolean {
  return code === "TIMEOUT" || (code === "REFUSED" && /unknown.*command/i.test(message));
}
