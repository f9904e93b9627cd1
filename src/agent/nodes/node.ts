/** Nodes, the host and the devices: their executors, what they register, and whether they take work. */
import type { Build } from "#/builds/build.ts";
import type { JobConfig } from "#/config/model.ts";
import { leaseFunction } from "#/exchange/lease.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { nodeFunctions } from "#/zuul/functions.ts";
import { Executor, type NodeContext, type RunLease } from "./executor.ts";
import { Placement } from "./placement.ts";
import type { ReserveBoard } from "./run-build.ts";

/**
 * Why a node takes no work. It stays registered, so that queued builds wait for it instead of being refused. Several reasons
 * can hold it at once; it is ready again when the last one is released.
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
  | "box"
  /** Its builds end without a result, one after the other. */
  | "failing"
  /** The board is being made ready, or isn't there. */
  | "device"
  /** A reload took it out of service, and its last build still runs. */
  | "leaving";

export interface NodeOptions {
  readonly name: string;
  readonly labels: readonly string[];
  readonly servers: readonly ServerAddress[];
  readonly context: NodeContext;
  /** How many builds at once; read again after a reload. */
  readonly executors: () => number;
  /** The jobs that it may run at this moment; the functions of all others are withdrawn while the node is idle. */
  readonly jobs: () => Iterable<JobConfig>;
  /** Set for a device. */
  readonly device?: string;
  /** Set for a device. */
  readonly reserve?: ReserveBoard;
  /** Set for a device that can be leased. */
  readonly lease?: { readonly isOffered: () => boolean; readonly run: RunLease };
}

export class Node implements AsyncDisposable {
  readonly name: string;
  readonly #options: NodeOptions;
  readonly #holds = new Map<Hold, string>();
  readonly #executors: Executor[] = [];
  readonly #placement = new Placement<Executor>();
  /** A reload lowered their number, and their last build still runs. */
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

  /** Those that take builds. */
  get active(): readonly Executor[] {
    return this.#executors;
  }

  /** All that may have a build, also the retiring ones. */
  get executors(): readonly Executor[] {
    return [...this.#executors, ...this.#retiring];
  }

  /** Builds that wait for an executor. */
  get waiting(): readonly Build[] {
    return this.#placement.waiting;
  }

  /** Why it takes no work, each with a line for people; empty when it is ready. */
  get holds(): ReadonlyMap<Hold, string> {
    return this.#holds;
  }

  get functions(): Set<string> {
    const { jobs, lease } = this.#options;
    const leases = lease?.isOffered() ? [this.name, ...this.#labels].map(leaseFunction) : [];
    return new Set([...nodeFunctions({ name: this.name, classes: this.#labels }, jobs()), ...leases]);
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
    for (const executor of this.#executors) executor.pause();
  }

  /** Takes work again, unless another reason holds it. */
  release(hold: Hold): void {
    this.#holds.delete(hold);
    if (this.#holds.size > 0) return;
    for (const executor of this.#executors) executor.resume();
  }

  /** Takes no more work, and closes its connections when what it has is done. */
  async retire(): Promise<void> {
    // Whatever else is released meanwhile.
    this.hold("leaving", "it is no longer configured so");
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
    const { context, reserve, lease, device } = this.#options;
    const node = { name: this.name, labels: () => this.#labels, ...(device !== undefined && { device }) };
    const executor = new Executor({
      index: this.#freeIndex(),
      node,
      servers: this.#servers,
      context,
      placement: this.#placement,
      executors: () => this.#executors,
      ...(reserve && { reserve }),
      ...(lease && { lease: lease.run }),
    });
    executor.worker.setFunctions(this.functions);
    if (this.#holds.size > 0) executor.pause();
    this.#placement.next(executor);
    return executor;
  }

  /** The lowest one that is free; it names the workspaces, which a retiring executor still uses. */
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

/** All nodes of the box. What the box lacks, each of them lacks. */
export class Nodes implements AsyncDisposable {
  readonly #nodes: Node[] = [];
  readonly #leaving = new Set<Node>();
  /** What holds the whole box, and so also a node that is added later. */
  readonly #holds = new Map<Hold, string>();

  /** Those in service, the host first. */
  get all(): readonly Node[] {
    return this.#nodes;
  }

  /** Removed ones, while their last build runs. */
  get leaving(): readonly Node[] {
    return [...this.#leaving];
  }

  find(name: string): Node | undefined {
    return this.#nodes.find((node) => node.name === name);
  }

  add(node: Node): void {
    this.#nodes.push(node);
    for (const [hold, reason] of this.#holds) node.hold(hold, reason);
  }

  /** Takes a node out of service; resolves when its last build has ended and its connections are closed. */
  async remove(node: Node): Promise<void> {
    this.#nodes.splice(this.#nodes.indexOf(node), 1);
    this.#leaving.add(node);
    try {
      await node.retire();
    } finally {
      this.#leaving.delete(node);
    }
  }

  /** The box takes no new builds for this reason; running builds go on. */
  hold(hold: Hold, reason: string): void {
    this.#holds.set(hold, reason);
    for (const node of this.#nodes) node.hold(hold, reason);
  }

  release(hold: Hold): void {
    this.#holds.delete(hold);
    for (const node of this.#nodes) node.release(hold);
  }

  isHeld(hold: Hold): boolean {
    return this.#holds.has(hold);
  }

  /**
   * Resolves when no node has a build or may still be handed one; lasting while they are held. Rejects with the signal's
   * reason.
   */
  async settled(signal?: AbortSignal): Promise<void> {
    await Promise.all([...this.#nodes, ...this.#leaving].map((node) => node.settled(signal)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#nodes, ...this.#leaving].map((node) => node[Symbol.asyncDispose]()));
  }
}
