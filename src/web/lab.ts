/** What the pages and the API show: handed in by the agent, read only. */

import type { BuildStore } from "#/builds/store.ts";
import type { Chunk } from "#/devices/port/ring.ts";
import type { AgentStatus, DeviceStatus } from "#/lib/status.ts";

export interface Lab {
  readonly builds: BuildStore;
  status(): AgentStatus;
  devices(): readonly DeviceStatus[];
  /** A device's console; undefined: there is no such device. */
  feed(device: string): DeviceFeed | undefined;
  /** The jobs that are configured: name, kind, and the classes or names that may run it. */
  jobs(): readonly { readonly name: string; readonly kind: string; readonly nodes?: readonly string[] }[];
  /** What the counters of /metrics can't see in the builds. */
  counts(): { readonly reconnects: number };
}

/** What a board says: what is kept, then live. */
export interface DeviceFeed {
  /** The offset of the oldest byte that is kept, and of the next that will come. */
  readonly start: number;
  readonly end: number;
  /** Where the build that runs on it began; undefined: none runs. */
  readonly buildFrom: number | undefined;
  /** Yields until the signal; one who is too slow misses bytes, and sees it by the offsets. */
  follow(from: number | undefined, signal: AbortSignal): AsyncIterable<Chunk>;
}
