/** What the gate knows of the lab behind it: which server has a function, what its agents say of themselves, and what waits. */
import { ManagerCalls } from "#/client/calls.ts";
import { askServer, managersWith } from "#/client/registered.ts";
import { infoFunction } from "#/exchange/functions.ts";
import { type AgentInfo, parseInfo } from "#/exchange/info.ts";
import type { FunctionStatus } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { formatAddress } from "#/lib/address.ts";
import { reason } from "#/lib/errors.ts";
import type { Log } from "#/lib/log.ts";
import { Refusal } from "./errors.ts";

const infoAgeMs = 5000;
/** An agent that is silent for longer isn't counted on. */
const infoTimeoutMs = 4000;
const statusAgeMs = 500;
const maxManagers = 500;

interface Cached<T> {
  readonly at: number;
  readonly value: Promise<T>;
}

/** Each answer is shared by all callers for a short while. */
export class Lab {
  readonly #servers: () => readonly ServerAddress[];
  readonly #log: Log;
  readonly #statuses = new Map<string, Cached<FunctionStatus[]>>();
  readonly #infos = new Map<string, Cached<AgentInfo | undefined>>();

  constructor(servers: () => readonly ServerAddress[], log: Log) {
    this.#servers = servers;
    this.#log = log;
  }

  server(name: string): ServerAddress | undefined {
    return this.#servers().find((server) => formatAddress(server) === name);
  }

  /** @throws Refusal unavailable when no server answers */
  async statuses(): Promise<{ readonly server: ServerAddress; readonly functions: FunctionStatus[] }[]> {
    const servers = this.#servers();
    const answers = await Promise.allSettled(servers.map((server) => this.status(server)));
    const good = servers.flatMap((server, index) => {
      const answer = answers[index];
      return answer?.status === "fulfilled" ? [{ server, functions: answer.value }] : [];
    });
    for (const answer of answers)
      if (answer.status === "rejected")
        this.#log.warn({}, `a job server can't be asked: ${(answer.reason as Error).message}`);
    if (good.length === 0)
      throw new Refusal("unavailable", "the lab can't be reached now", { why: "no job server answers" });
    return good;
  }

  /** @throws GearmanError */
  status(server: ServerAddress): Promise<FunctionStatus[]> {
    return cached(this.#statuses, formatAddress(server), statusAgeMs, () => askServer(server));
  }

  /** What waits for a function; undefined: that can't be said now. */
  async queueOf(
    server: ServerAddress,
    name: string,
  ): Promise<{ readonly queued: number; readonly workers: number; readonly running: number } | undefined> {
    const functions = await this.status(server).catch(() => []);
    const found = functions.find((one) => one.function === name);
    if (!found) return undefined;
    const { total, running, workers } = found;
    return { queued: Math.max(1, total - running), workers, running };
  }

  /** What all agents on a server say; those that don't answer in time are left out. */
  async infos(server: ServerAddress, maxAgeMs = infoAgeMs): Promise<AgentInfo[]> {
    const managers = managersWith(await this.status(server), infoFunction).slice(0, maxManagers);
    const answers = await Promise.all(managers.map((manager) => this.#info(server, manager, maxAgeMs)));
    return answers.filter((info) => info !== undefined);
  }

  #info(server: ServerAddress, manager: string, maxAgeMs: number): Promise<AgentInfo | undefined> {
    return cached(this.#infos, `${formatAddress(server)} ${manager}`, maxAgeMs, async () => {
      await using calls = new ManagerCalls(server);
      const timer = setTimeout(() => void calls[Symbol.asyncDispose](), infoTimeoutMs);
      try {
        return parseInfo(await calls.call(infoFunction(manager), Buffer.alloc(0)));
      } catch (error) {
        this.#log.warn({ manager }, `${manager} doesn't say what it is: ${reason(error)}`);
        return undefined;
      } finally {
        clearTimeout(timer);
      }
    });
  }
}

function cached<T>(
  map: Map<string, Cached<T>>,
  key: string,
  maxAgeMs: number,
  ask: () => Promise<T>,
): Promise<T> {
  const known = map.get(key);
  if (known && performance.now() - known.at < maxAgeMs) return known.value;
  const value = ask();
  map.set(key, { at: performance.now(), value });
  // The next caller asks again.
  value.catch(() => map.delete(key));
  return value;
}
