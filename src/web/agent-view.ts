/** What the pages and the API read from the agent, which hands it in. */
import type { BuildStore } from "#/builds/store.ts";
import type { LinksConfig } from "#/config/model.ts";
import type { Chunk } from "#/devices/port/ring.ts";
import type { HistoryEvent } from "#/lib/board-history.ts";
import type { LabView } from "#/lib/lab.ts";
import type { AgentStatus, BoardRecord, DeviceStatus, ServerStatus } from "#/lib/status.ts";

export interface AgentView {
  readonly builds: BuildStore;
  status(): AgentStatus;
  devices(): readonly DeviceStatus[];
  /** The console of a device; undefined if there is no such device. */
  feed(device: string): DeviceFeed | undefined;
  /** What happened to a device's board from a time on (Unix milliseconds), oldest first. */
  history(device: string, sinceMs: number): Promise<readonly HistoryEvent[]>;
  /** The configured jobs: name, kind, and the classes or nodes that can run them. */
  jobs(): readonly { readonly name: string; readonly kind: string; readonly nodes?: readonly string[] }[];
  /** How a board and its siblings did with a job lately; undefined: it has no builds that count. */
  boardRecord(device: string, job: string): Promise<BoardRecord | undefined>;
  /** Jobs that fail now and then on all boards of a class. */
  flaky(): readonly { readonly job: string; readonly class: string }[];
  /** All boxes of the job servers; asks them, at most every 5 s for all viewers. */
  lab(): Promise<LabView>;
  /** The same, as far as it is known. */
  labNow(): LabView;
  /** Templates for links to what a build tests. */
  links(): LinksConfig;
  /** Counters for /metrics that can't be derived from the builds. */
  counts(): { readonly reconnects: number };
  /** When the configuration was read last, by the start or a reload. */
  lastReload(): { readonly at: Date; readonly failed: boolean };
  /** The controllers of control groups that enforce limits of builds. */
  enforced(): ReadonlySet<"cpu" | "memory" | "pids">;
  /** Bytes on disk by what they are for, such as workspaces, as they were measured last. */
  sizes(): ReadonlyMap<string, number>;
  /** Of the state directory; undefined: the file system doesn't say. */
  disk(): Promise<{
    readonly freeBytes: number | undefined;
    readonly minFreeBytes: number;
    readonly freeInodes: number | undefined;
  }>;
}

/** The output of a board: what the ring buffer still holds, then live. */
export interface DeviceFeed {
  /** The offsets of the oldest byte still held and of the next one to come. */
  readonly start: number;
  readonly end: number;
  /** Where the output of the running build starts; undefined if none is running. */
  readonly buildFrom: number | undefined;
  /** Yields until the signal aborts. A slow reader misses bytes and sees that from the offsets. */
  follow(from: number | undefined, signal: AbortSignal): AsyncIterable<Chunk>;
}

/** True if all connections are registered: the job server can assign builds, or waits for one to end. */
export function isConnected({ state }: Pick<ServerStatus, "state">): boolean {
  return ["awake", "grabbing", "working", "asleep"].includes(state);
}
