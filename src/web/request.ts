/** Reads what a request names: a build, and numbers in its query. */
import type { HttpBindings } from "@hono/node-server";
import { type BuildFilter, parseFilter } from "#/builds/filter.ts";
import { type BuildRecord, readRecord } from "#/builds/record.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { CodedError } from "#/lib/errors.ts";
import type { AgentView } from "./agent-view.ts";

/** What hono hands to every route: Node's own request and response. */
export interface Env {
  Bindings: HttpBindings;
}

/** A request that can't be answered as asked. The message goes to the client. */
export class RequestError extends CodedError<"REQUEST"> {
  override readonly name = "RequestError";
  readonly status: 400 | 404 | 416;

  constructor(status: RequestError["status"], message: string) {
    super("REQUEST", message);
    this.status = status;
  }
}

/** @throws RequestError 404 */
export function findBuild(agent: AgentView, job: string, number: string): FoundBuild {
  if (/^[1-9][0-9]{0,14}$/.test(number)) {
    const found = agent.builds.find({ job, number: Number(number) });
    if (found) return found;
  }
  throw new RequestError(404, "no such build, or it is no longer kept");
}

/** @throws RequestError 404 if the record can't be read */
export async function recordOf({ running, folder }: FoundBuild): Promise<BuildRecord> {
  if (running) return running.record;
  return readRecord(folder).catch(() => {
    throw new RequestError(404, "the record of this build can't be read");
  });
}

/** @throws RequestError 400 */
export function byteOffset(text: string | undefined): number | undefined {
  return wholeNumber("from", text, { min: 0, max: Number.MAX_SAFE_INTEGER });
}

/**
 * @param name of the parameter, for the message
 * @throws RequestError 400 if it is not a whole number, or out of range
 */
export function wholeNumber(
  name: string,
  text: string | undefined,
  { min, max }: { readonly min: number; readonly max: number },
): number | undefined {
  if (text === undefined) return undefined;
  const value = /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new RequestError(400, `${name} must be a whole number from ${min} to ${max}`);
}

/**
 * @param query of a list of builds
 * @throws RequestError 400
 */
export function filterOf(query: Readonly<Record<string, string>>): BuildFilter {
  try {
    return parseFilter((name) => query[name]);
  } catch (cause) {
    throw new RequestError(400, (cause as Error).message);
  }
}
