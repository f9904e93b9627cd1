/** A node, the host or a device: its executors, what they register, and whether they take work. */
import type { Build } from "#/builds/build.ts";
import type { JobConfig } from "#/config/model.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { nodeFunctions } from "#/zuul/functions.ts";
import type { CarryOut } from "./carry-out.ts";
import type { NodeContext } from "./context.ts";
import { Executor } from "./executor.ts";

/**
 * Why a node takes no work. It stays registered all the while, so that what is queued waits for it instead of being
 * refused; several reasons can hold it at once, and it is ready again when none does.
 *
 *     ready ◀──release the last──── held ◀─┐
 *       └────────────hold──────────▶ └──hold, release
 */
export type Hold =
  /** By a person, or by a build's OFFLINE_NODE_WHEN_COMPLETE; outlives a restart. */
  | "paused"
  /** Until what runs has ended. */
  | "draining"
  /** Less space than `min-free`. */
  | "disk"
  /** The box can't do what every build needs, such as writing to the state directory. */
  | "trouble"
  /** The board is being made ready, or isn't there. */
  | "device";

export interface NodeOptions {
  readonly name: string;
  readonly labels: readonly string[];
  readonly servers: readonly ServerAddress[];
  readonly context: NodeContext;
  /** How many builds at once; asked again after a reload. */
  readonly executors: () => number;
  /** The jobs that it may run at this moment; what it doesn't offer is withdrawn while the node is idle. */
  readonly jobs: () => Iterable<JobConfig>;
  /** Set for a device: it then runs only jobs that name one of its classes, or itself. */
  readonly device?: string;
  readonly carryOut: CarryOut;
  readonly onOffline: (build: Build) => void;
}

export class Node implements AsyncDisposable {
  readonly name: string;
  readonly #options: NodeOptions;
  readonly #holds = new Map<Hold, string>();
  readonly #executors: Executor[] = [];
  /** Too many since a reload, and still at their last build. */
  readonly #retiring = new Set<Executor>();
  #labels: readonly string[];
  #servers: readonly ServerAddress[];

  constructor(options: NodeOptions) {
    this.name = options.name;
    this.#options = options;
    this.#labels = options.labels;
    this.#servers = options.servers;
    this.#size();
  }

  get labels(): readonly string[] {
    return this.#labels;
  }

  /** All that may have a build, those that are retiring too. */
  get executors(): readonly Executor[] {
    return [...this.#executors, ...this.#retiring];
  }

  /** The reasons why it takes no work, in people's words; empty when it is ready. */
  get holds(): ReadonlyMap<Hold, string> {
    return this.#holds;
  }

  get functions(): Set<string> {
    return nodeFunctions({ name: this.name, classes: this.#labels }, this.#options.jobs());
  }

  /** Resolves when every executor has registered its functions on at least one job server. */
  async registered(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#executors.map((executor) => executor.worker.registered(signal)));
  }

  /** Resolves when no executor has a build or may still be handed one; lasting while the node is held. */
  async settled(signal?: AbortSignal): Promise<void> {
    await Promise.all(this.executors.map((executor) => executor.worker.settled(signal)));
  }

  /** Takes no new work for this reason; builds that run go on. */
  hold(hold: Hold, reason: string): void {
    this.#holds.set(hold, reason);
    for (const executor of this.#executors) executor.worker.pause();
  }

  /** Takes work again, unless another reason holds it. */
  release(hold: Hold): void {
    this.#holds.delete(hold);
    if (this.#holds.size > 0) return;
    for (const executor of this.#executors) executor.worker.resume();
  }

  /** Takes no more work, and closes its connections when what it has is done. */
  async retire(): Promise<void> {
    await Promise.all(this.executors.map((executor) => executor.retire()));
  }

  /** Follows a changed configuration: functions, job servers, number of executors. Running builds go on. */
  apply(labels: readonly string[], servers: readonly ServerAddress[]): void {
    this.#labels = labels;
    this.#servers = servers;
    this.#size();
    for (const executor of this.#executors) executor.worker.setServers(servers);
    this.offer();
  }

  /** Registers what the node offers now, and withdraws what it doesn't. */
  offer(): void {
    for (const executor of this.#executors) executor.worker.setFunctions(this.functions);
  }

  /** Makes the executors that are missing, and retires those that are too many. */
  #size(): void {
    const wanted = this.#options.executors();
    for (const executor of this.#executors.splice(wanted)) {
      this.#retiring.add(executor);
      void executor.retire().finally(() => this.#retiring.delete(executor));
    }
    while (this.#executors.length < wanted) this.#executors.push(this.#newExecutor());
  }

  #newExecutor(): Executor {
    const { context, onOffline, carryOut, device } = this.#options;
    const node = { name: this.name, labels: () => this.#labels, ...(device !== undefined && { device }) };
    const executor = new Executor({
      index: this.#freeIndex(),
      node,
      servers: this.#servers,
      context,
      carryOut,
      onOffline,
    });
    executor.worker.setFunctions(this.functions);
    if (this.#holds.size > 0) executor.worker.pause();
    return executor;
  }

  /** The lowest that no executor has, nor one that is retiring: it names the workspaces. */
  #freeIndex(): number {
    const taken = new Set(this.executors.map((executor) => executor.index));
    let index = 0;
    while (taken.has(index)) index++;
    return index;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.executors.map((executor) => executor[Symbol.asyncDispose]()));
  }
}
