/** What is kept in memory of each build on disk. */
import type { BuildRecord } from "./record.ts";

/** Enough for lists and estimates. */
export type BuildSummary = Pick<
  BuildRecord,
  | "job"
  | "number"
  | "uuid"
  | "node"
  | "target"
  | "labels"
  | "assigned"
  | "started"
  | "ended"
  | "ending"
  | "took"
  | "result"
  | "undelivered"
>;

/** A build's record without what takes room. */
export function summarize(record: BuildRecord): BuildSummary {
  const { job, number, uuid, node, labels, assigned } = record;
  return {
    ...{ job, number, uuid, node, labels, assigned },
    ...(record.target === undefined ? {} : { target: record.target }),
    ...(record.started === undefined ? {} : { started: record.started }),
    ...(record.ended === undefined ? {} : { ended: record.ended }),
    ...(record.took === undefined ? {} : { took: record.took }),
    ...(record.ending === undefined ? {} : { ending: record.ending }),
    ...(record.result === undefined ? {} : { result: record.result }),
    ...(record.undelivered === undefined ? {} : { undelivered: record.undelivered }),
  };
}
