/** Following a submitted build to its end: what its packets say, shown as it comes; Ctrl-C stops the build. */
import type { JobEvent } from "#/gearman/client.ts";
import { exitCodes } from "./exit.ts";
import type { Renderer } from "./render.ts";

export interface FollowOptions {
  readonly renderer: Renderer;
  /** Stops the build: at its manager when one has it, else in the job server's queue. */
  readonly stop: (manager: string | undefined) => Promise<void>;
}

const codeByResult: Record<string, number> = {
  SUCCESS: exitCodes.success,
  FAILURE: exitCodes.failure,
  ABORTED: exitCodes.aborted,
  TIMED_OUT: exitCodes.timedOut,
};

/**
 * Shows a build until it ends.
 * @returns the exit code
 * @throws GearmanError CLOSED when the line to the job server is lost
 */
export async function followBuild(events: AsyncIterable<JobEvent>, options: FollowOptions): Promise<number> {
  const { renderer } = options;
  let manager: string | undefined;
  let result: string | undefined;
  let offset = 0;
  let interrupted = false;
  const onInterrupt = () => {
    if (interrupted) process.exit(130);
    interrupted = true;
    renderer.show({ event: "stopping", again: "Ctrl-C once more leaves without waiting for the end" });
    options
      .stop(manager)
      .catch((error) => renderer.show({ event: "notice", text: `no stop: ${error.message}` }));
  };
  process.on("SIGINT", onInterrupt);
  try {
    for await (const event of events) {
      if (event.type === "status" && event.denominator > 0) {
        renderer.show({
          event: "progress",
          percent: Math.floor((100 * event.numerator) / event.denominator),
        });
      } else if (event.type === "data" || event.type === "complete") {
        const data = parse(event.data);
        if (typeof data.output === "string") {
          const at = Number(data.offset);
          if (at > offset)
            renderer.show({
              event: "notice",
              text: `${at - offset} bytes came too fast and are left out here`,
            });
          offset = at + Buffer.byteLength(data.output);
          renderer.show({ event: "output", text: data.output });
        } else if (manager === undefined && typeof data.manager === "string") {
          manager = data.manager;
          renderer.show({ event: "started", ...pick(data, "name", "number", "manager", "node_name", "url") });
        }
        if (typeof data.result === "string") result = data.result;
      } else if (event.type === "exception") {
        renderer.show({ event: "notice", text: event.data.toString() });
      }
    }
  } finally {
    process.off("SIGINT", onInterrupt);
  }
  // What never reached a manager was taken out of the queue.
  if (result === undefined && interrupted && manager === undefined) result = "ABORTED";
  renderer.show({ event: "ended", ...(result !== undefined && { result }) });
  return result === undefined ? exitCodes.noResult : (codeByResult[result] ?? exitCodes.failure);
}

/** A data packet's object; empty for an empty or strange one, which another worker may send. */
function parse(data: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(data.toString());
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function pick(data: Record<string, unknown>, ...keys: string[]): Record<string, unknown> {
  return Object.fromEntries(keys.filter((key) => key in data).map((key) => [key, data[key]]));
}
