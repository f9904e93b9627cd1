/** The devices of the box and their nodes: made, changed and taken away as the configuration says. */
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Config, DeviceConfig } from "#/config/model.ts";
import type { Device } from "#/devices/device.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { loadSystemCalls, type SystemCalls } from "#/host/syscalls.ts";
import type { Board, Discovery } from "./board.ts";
import type { NodeContext } from "./nodes/executor.ts";
import type { Nodes } from "./nodes/node.ts";
import type { StateStore } from "./state-store.ts";

export interface BoardsOptions {
  readonly nodes: Nodes;
  readonly context: NodeContext;
  readonly state: StateStore;
}

export class Boards implements AsyncDisposable {
  readonly #options: BoardsOptions;
  readonly #calls: SystemCalls | undefined = loadSystemCalls();
  #discovery: Discovery | undefined;
  readonly #boards = new Map<string, Board>();
  /** Those that were taken away and still have their last build. */
  readonly #leaving = new Map<string, Promise<void>>();
  #servers: readonly ServerAddress[] = [];

  constructor(options: BoardsOptions) {
    this.#options = options;
  }

  get devices(): readonly Device[] {
    return [...this.#boards.values()].map(({ device }) => device);
  }

  find(name: string): Device | undefined {
    return this.#boards.get(name)?.device;
  }

  /**
   * Does everything that can fail before a configuration is applied.
   * @throws the file system's error
   */
  async prepare({ devices }: Config): Promise<void> {
    for (const name of devices.keys()) await mkdir(this.#folder(name), { recursive: true });
  }

  #folder(name: string): string {
    return join(this.#options.context.stateDir, "devices", encodeURIComponent(name));
  }

  /**
   * Follows the configuration. A device that changed is made anew as soon as its build has ended.
   * @throws the file system's error
   */
  async apply({ devices }: Config, servers: readonly ServerAddress[]): Promise<void> {
    this.#servers = servers;
    for (const [name, board] of [...this.#boards]) {
      const config = devices.get(name);
      if (config && isDeepStrictEqual(config, board.device.config)) board.node.apply(config.classes, servers);
      else this.#remove(name, board);
    }
    for (const config of devices.values()) {
      if (this.#boards.has(config.name)) continue;
      const leaving = this.#leaving.get(config.name);
      if (!leaving) await this.#add(config);
      // Another reload may have taken it away by then.
      else void leaving.then(() => this.#addIfWanted(config.name));
    }
  }

  async #addIfWanted(name: string): Promise<void> {
    const { context } = this.#options;
    const config = context.config().devices.get(name);
    if (!config || this.#boards.has(name)) return;
    await this.#add(config).catch((error) => context.log.error({ device: name }, error.message));
  }

  #remove(name: string, { device, node }: Board): void {
    this.#boards.delete(name);
    const left = this.#options.nodes
      .remove(node)
      .then(() => device[Symbol.asyncDispose]())
      .catch((error) => this.#options.context.log.error({ device: name }, error.message))
      .finally(() => this.#leaving.delete(name));
    this.#leaving.set(name, left);
  }

  async #add(config: DeviceConfig): Promise<void> {
    const { nodes } = this.#options;
    // What speaks with boards is loaded where there are some.
    const { Discovery, newBoard } = await import("./board.ts");
    const folder = this.#folder(config.name);
    await mkdir(folder, { recursive: true });
    this.#discovery ??= new Discovery();
    const board = newBoard(config, {
      ...this.#options,
      folder,
      discovery: this.#discovery,
      calls: this.#calls,
      servers: this.#servers,
    });
    this.#boards.set(config.name, board);
    nodes.add(board.node);
    board.begin();
  }

  /** Resolves when every device is ready and its functions are registered. Rejects with the signal's reason. */
  async ready(signal: AbortSignal): Promise<void> {
    for (const { device, node } of this.#boards.values()) {
      while (device.state.kind !== "ready") await once(device, "changed", { signal });
      await node.registered(signal);
    }
  }

  /** Ends all of them: builds must have been told to stop. */
  async [Symbol.asyncDispose](): Promise<void> {
    const boards = [...this.#boards.values()];
    await Promise.all([
      ...this.#leaving.values(),
      ...boards.map(({ device }) => device[Symbol.asyncDispose]()),
    ]);
    this.#discovery?.[Symbol.dispose]();
  }
}
