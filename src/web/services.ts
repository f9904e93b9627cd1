/** The parts that the routes share. */
import type { LimitFunction } from "p-limit";
import type { LineIndexes } from "#/builds/console/line-index.ts";
import type { AgentView } from "./agent-view.ts";
import type { Events } from "./events/events.ts";
import type { Metrics } from "./metrics.ts";

export interface Services {
  readonly agent: AgentView;
  readonly indexes: LineIndexes;
  readonly events: Events;
  readonly metrics: Metrics;
  readonly searchLimit: LimitFunction;
  /** Reports an internal error. */
  readonly onFault: (error: Error, path: string) => void;
}
