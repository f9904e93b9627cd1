/** Whether the box can do what every build needs: one that can't would fail builds as fast as they come, so it takes none. */
import { boxFailure, tryFolder } from "#/host/health.ts";
import type { Log } from "#/lib/log.ts";
import type { Nodes } from "./nodes/node.ts";
import type { BoxHealth } from "./nodes/run-build.ts";

/**
 *     well ──a check, or a build, fails──▶ unwell: all nodes are held ──recheck() passes──▶ well
 */
export class WatchedBox implements BoxHealth {
  readonly #stateDir: string;
  readonly #nodes: Nodes;
  readonly #log: Log;

  constructor(stateDir: string, nodes: Nodes, log: Log) {
    this.#stateDir = stateDir;
    this.#nodes = nodes;
    this.#log = log;
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

  /** Holds or releases all nodes by how the box is now. */
  async recheck(): Promise<void> {
    const wasHeld = this.#nodes.isHeld("box");
    try {
      await tryFolder(this.#stateDir, wasHeld);
    } catch (error) {
      const reason = boxFailure(error) ?? (error as Error).message;
      if (!this.#nodes.isHeld("box")) this.#log.error({}, `no build is taken: ${reason}`);
      this.#nodes.hold("box", reason);
      return;
    }
    // When a build failed the box during this check, only the next check tries to write, and decides.
    if (!wasHeld) return;
    this.#log.info({}, "the box is well again: builds are taken");
    this.#nodes.release("box");
  }
}
