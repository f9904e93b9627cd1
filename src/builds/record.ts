/** The record of a build, `build.json`: what is known of it, written so that a crash leaves the last state readable. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { replaceFile } from "#/lib/replace-file.ts";
import type { Ending } from "./ending.ts";
import { parseRecord } from "./record-schema.ts";

/** The shape of `build.json`. Times are ISO 8601 in UTC. */
export interface BuildRecord {
  readonly version: 1;
  readonly job: string;
  readonly number: number;
  /** The Gearman unique; Zuul's ZUUL_UUID. */
  readonly uuid: string;
  readonly node: string;
  /** The device that it runs on; absent: the host. */
  readonly device?: string;
  /** The class or name that the client asked for; absent: any. */
  readonly target?: string;
  readonly labels: readonly string[];
  /** From 0. */
  readonly executor: number;
  /** The job server that handed it out. */
  readonly server: string;
  readonly url: string;
  /** As the client sent them, with those that look like secrets masked. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly assigned: string;
  started?: string;
  ended?: string;
  /** Milliseconds that it worked, by a clock that nobody sets. */
  took?: number;
  ending?: Ending;
  /** What was told to the client; absent for none. */
  result?: string;
  /** It isn't known that the client has got the ending: it is told when the job is handed out again. */
  undelivered?: true;
  /** HTML from the client, not yet sanitised. */
  description?: string;
  /** The commit that was checked out. */
  commit?: string;
  console?: { bytes: number; cut: number };
  artifacts?: readonly { path: string; size: number }[];
  tests?: { tests: number; failures: number; errors: number; skipped: number };
  /** Processes found alive after the job's end, by pid and command line, and stopped. */
  leftovers?: readonly { pid: number; command: string }[];
  /** Those that even the kill didn't end. */
  survivors?: readonly { pid: number; command: string }[];
  warnings?: readonly string[];
}

/** Where the record lies in a build's folder. */
export function recordFile(folder: string): string {
  return join(folder, "build.json");
}

/**
 * Writes the record, over the old one as a whole.
 * @throws the file system's error; the old record is then still there
 */
export async function writeRecord(folder: string, record: BuildRecord): Promise<void> {
  await replaceFile(recordFile(folder), `${JSON.stringify(record, null, 2)}\n`);
}

/** The largest record that is believed, in bytes: more than the largest launch can make of it. */
const maxRecord = 256 * 1024 * 1024;

/**
 * Reads a record back.
 * @throws the file system's error, or SyntaxError for a damaged one
 */
export async function readRecord(folder: string): Promise<BuildRecord> {
  // Not blocking, since a job may have put a pipe in its place.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
  await using file = await open(recordFile(folder), flags);
  const stat = await file.stat();
  if (!stat.isFile()) throw new SyntaxError("it is no regular file");
  if (stat.size > maxRecord) throw new SyntaxError(`it is ${stat.size} bytes long`);
  return parseRecord(JSON.parse(await file.readFile("utf8")));
}
