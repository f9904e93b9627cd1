/** Makes the agent the new parent of every orphan below it: this finds daemons that removed their traces. */
import type { ChildProcess } from "node:child_process";
import { tracingChannel } from "node:diagnostics_channel";
import { isChild } from "#/host/children.ts";
import { isDead, listProcesses, type ProcessStat } from "#/host/proc.ts";
import type { SystemCalls } from "#/host/syscalls.ts";

const spawns = tracingChannel<object, object>("child_process.spawn");

/**
 * Adopted orphans are the children that Node didn't start. They are reaped here, since Node only waits for its own children.
 * Source: prctl(2), PR_SET_CHILD_SUBREAPER.
 */
export class Subreaper implements Disposable {
  readonly #calls: SystemCalls;
  readonly #own = new Set<number>();
  /**
   *     idle ──SIGCHLD──> looking ──SIGCHLD──> again ──look done──> looking
   *      ^                   │ look done
   *      └───────────────────┘                any ──dispose──> off
   */
  #state: "idle" | "looking" | "again" | "off" = "idle";

  /** @param children the pids that this process has already started */
  private constructor(calls: SystemCalls, children: Iterable<number>) {
    this.#calls = calls;
    for (const pid of children) this.#own.add(pid);
    spawns.subscribe(this.#watcher);
    process.on("SIGCHLD", this.#onChild);
  }

  /** Undefined: the kernel or node:ffi doesn't allow it. Call it once, when the agent starts. */
  static async become(calls: SystemCalls | undefined): Promise<Subreaper | undefined> {
    if (!calls?.becomeSubreaper()) return undefined;
    const all = await listProcesses();
    return new Subreaper(
      calls,
      all.filter((stat) => stat.parent === process.pid).map((stat) => stat.pid),
    );
  }

  /** Whether a process is an orphan that we adopted. */
  isAdopted(stat: ProcessStat): boolean {
    // Once off, it no longer knows which children are Node's.
    return (
      this.#state !== "off" && stat.parent === process.pid && !this.#own.has(stat.pid) && !isChild(stat.pid)
    );
  }

  /** Stops the watching; orphans are adopted until this process ends. */
  [Symbol.dispose](): void {
    this.#state = "off";
    spawns.unsubscribe(this.#watcher);
    process.off("SIGCHLD", this.#onChild);
  }

  /** Node publishes each child in the turn in which it starts, just before it has a pid. */
  readonly #watcher = {
    end: (message: unknown): void => {
      const { process: child } = message as { process: ChildProcess };
      queueMicrotask(() => this.#keep(child));
    },
  };

  #keep(child: ChildProcess): void {
    const { pid } = child;
    if (pid === undefined) return;
    this.#own.add(pid);
    child.once("exit", () => this.#own.delete(pid));
  }

  readonly #onChild = (): void => {
    if (this.#state === "idle") void this.#reapAll();
    else if (this.#state === "looking") this.#state = "again";
  };

  async #reapAll(): Promise<void> {
    do {
      this.#state = "looking";
      for (const stat of await listProcesses()) {
        if (isDead(stat) && this.isAdopted(stat)) this.#calls.reap(stat.pid);
      }
    } while (this.#is("again"));
    if (this.#is("looking")) this.#state = "idle";
  }

  #is(state: "looking" | "again"): boolean {
    return this.#state === state;
  }
}
