/** While a build waits in the queue: how many wait there, its place, and why no node takes it. */
import { setTimeout as delay } from "node:timers/promises";
import { Admin, type FunctionStatus } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import type { Renderer } from "./events.ts";

export interface QueuedBuild {
  /** The Gearman function it was submitted to. */
  readonly function: string;
  readonly handle: string;
}

/** A build that is taken at once needs no line about its wait. */
const firstLookMs = 2000;
const lookIntervalMs = 10_000;
const serverTimeoutMs = 4000;

/**
 * Shows where a build stands whenever that changes, until the signal.
 * @param explain why no node takes it, where agents say so
 */
export async function watchQueue(
  server: ServerAddress,
  build: QueuedBuild,
  renderer: Renderer,
  signal: AbortSignal,
  explain: (functions: readonly FunctionStatus[]) => Promise<string | undefined>,
): Promise<void> {
  let shown = "";
  let knowsPlaces: boolean | undefined;
  for (let waitMs = firstLookMs; ; waitMs = lookIntervalMs) {
    try {
      await delay(waitMs, undefined, { signal });
      await using admin = await Admin.connect(server, {
        signal,
        timeoutMs: serverTimeoutMs,
        answerTimeoutMs: serverTimeoutMs,
      });
      const functions = await admin.status();
      const entry = functions.find((one) => one.function === build.function);
      if (!entry) continue;
      knowsPlaces ??= (await admin.version().catch(() => "")).startsWith("labgear ");
      const place = knowsPlaces ? await admin.placeOf(build.handle) : undefined;
      const why = (await explain(functions)) ?? describe(entry);
      const event = {
        queued: Math.max(1, entry.total - entry.running),
        ...(place !== undefined && { place }),
        why,
      };
      if (signal.aborted) return;
      if (JSON.stringify(event) !== shown) renderer.show({ event: "waiting", ...event });
      shown = JSON.stringify(event);
    } catch {
      // The next look may find the server again; if it is gone, who follows the build finds out.
      if (signal.aborted) return;
    }
  }
}

/** What the server alone can say. */
function describe({ workers, running }: FunctionStatus): string {
  if (workers === 0) return "no node that runs it is connected now";
  if (running >= workers)
    return workers === 1 ? "the only executor is busy" : `all ${workers} executors are busy`;
  return "its nodes are busy with other jobs, paused, or not ready";
}
