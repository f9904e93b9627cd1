/** What an agent sends of a build, made from the build's record: what it really sent may have been lost with a line. */
import { causeOf, type Ending } from "#/builds/record.ts";
import { isObject, type JsonObject } from "#/exchange/message.ts";
import type { JobEvent } from "#/gearman/client/client.ts";

export function dataEvent(data: JsonObject): JobEvent {
  return { type: "data", data: Buffer.from(JSON.stringify(data)) };
}

/** As the agent sent it first. */
export function firstData({ job, number, node, url }: JsonObject): JsonObject {
  return { name: job, number, node_name: node, url };
}

/** As the agent sends it at the end: see ResultMessage. */
export function lastData({ result, ending }: JsonObject): JsonObject {
  return { result, ...(isEnding(ending) && { reason: ending.reason, cause: causeOf(ending) }) };
}

function isEnding(value: unknown): value is Ending {
  return isObject(value) && typeof value.kind === "string" && typeof value.reason === "string";
}
