/** Whether the box can do what every build needs: one that can't would fail builds as fast as they come, so it takes none. */
import { accessSync, constants, statSync } from "node:fs";
import { boxFailure, tryFolder } from "#/host/health.ts";
import type { Log } from "#/lib/log.ts";
import type { Nodes } from "./nodes/node.ts";
import type { BoxHealth } from "./nodes/run-build.ts";
import type { StateStore } from "./state-store.ts";

/** After so many faults in a row a node takes no builds for a while, or until it is resumed. */
const maxFaults = 3;
const retryAfterMs = 5 * 60 * 1000;

/**
 *     well ──a check, or a build, fails──▶ unwell: all nodes are held ──recheck() passes──▶ well
 */
export class WatchedBox implements BoxHealth {
  readonly #stateDir: string;
  readonly #state: Pick<StateStore, "saveRest">;
  readonly #nodes: Nodes;
  readonly #log: Log;
  /** By node: how many builds in a row ended by its fault. */
  readonly #faults = new Map<string, { count: number; retryAt: number }>();

  constructor(stateDir: string, state: Pick<StateStore, "saveRest">, nodes: Nodes, log: Log) {
    this.#stateDir = stateDir;
    this.#state = state;
    this.#nodes = nodes;
    this.#log = log;
  }

  isReady(): boolean {
    try {
      // One that a build has removed is made again.
      const found = statSync(this.#stateDir, { throwIfNoEntry: false });
      if (found?.isDirectory() === false) throw new Error(`${this.#stateDir} is no folder any more`);
      if (found) accessSync(this.#stateDir, constants.W_OK | constants.X_OK);
      return true;
    } catch (error) {
      this.#hold(error);
      return false;
    }
  }

  check(): Promise<void> {
    return tryFolder(this.#stateDir, false);
  }

  explain(error: unknown): string | undefined {
    return boxFailure(error);
  }

  /** Logs nothing: the build that failed says it. */
  failed(reason: string): void {
    this.#nodes.hold("box", reason);
  }

  ended(name: string, fault?: string): void {
    const count = fault === undefined ? 0 : (this.#faults.get(name)?.count ?? 0) + 1;
    this.#faults.set(name, { count, retryAt: performance.now() + retryAfterMs });
    const node = this.#nodes.find(name);
    if (!node || count < maxFaults) return;
    const reason = `the last ${count} builds ended without a result; the last one: ${fault}`;
    this.#log.error({ node: name }, `no build is taken for ${retryAfterMs / 60_000} minutes: ${reason}`);
    node.hold("failing", reason);
  }

  /** Lets nodes try one more build, which holds them again if it fails, too. */
  #retry(): void {
    for (const node of this.#nodes.all) {
      if (!node.holds.has("failing")) continue;
      if (performance.now() >= (this.#faults.get(node.name)?.retryAt ?? 0)) node.release("failing");
    }
  }

  /** Holds or releases all nodes by how the box is now. */
  async recheck(): Promise<void> {
    this.#retry();
    const wasHeld = this.#nodes.isHeld("box");
    try {
      await tryFolder(this.#stateDir, wasHeld);
      this.#state.saveRest();
    } catch (error) {
      return this.#hold(error);
    }
    // When a build failed the box during this check, only the next check tries to write, and decides.
    if (!wasHeld) return;
    this.#log.info({}, "the box is well again: builds are taken");
    this.#nodes.release("box");
  }

  #hold(error: unknown): void {
    const reason = boxFailure(error) ?? (error as Error).message;
    if (!this.#nodes.isHeld("box")) this.#log.error({}, `no build is taken: ${reason}`);
    this.#nodes.hold("box", reason);
  }
}
