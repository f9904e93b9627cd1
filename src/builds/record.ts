/** The record of a build, `build.json`: what is known of it, written so that a crash leaves the last state readable. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFile } from "atomically";
import type { Ending } from "./ending.ts";

/** The shape of `build.json`. Times are ISO 8601 in UTC. */
export interface BuildRecord {
  readonly version: 1;
  readonly job: string;
  readonly number: number;
  /** The Gearman unique; Zuul's ZUUL_UUID. */
  readonly uuid: string;
  readonly node: string;
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
  ending?: Ending;
  /** What was told to the client; absent for none. */
  result?: string;
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

/** Writes the record: to a new file, synced, renamed over the old one. */
export async function writeRecord(folder: string, record: BuildRecord): Promise<void> {
  await writeFile(recordFile(folder), `${JSON.stringify(record, null, 2)}\n`, { mode: 0o644 });
}

/**
 * Reads a record back.
 * @throws the file system's error, or SyntaxError for a damaged one
 */
export async function readRecord(folder: string): Promise<BuildRecord> {
  const record: unknown = JSON.parse(await readFile(recordFile(folder), "utf8"));
  if (isRecord(record)) return record;
  throw new SyntaxError("this is JSON, but no build record");
}

function isRecord(value: unknown): value is BuildRecord {
  if (typeof value !== "object" || value === null) return false;
  const { version, job, number, uuid, assigned } = value as Partial<BuildRecord>;
  return (
    version === 1 &&
    typeof job === "string" &&
    Number.isSafeInteger(number) &&
    typeof uuid === "string" &&
    typeof assigned === "string"
  );
}

const secret = /secret|token|passw|hmac|credential|private|api_?key/i;

/** The parameters as they may be shown and kept: values whose names speak of secrets are masked. */
export function maskSecrets(parameters: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries(
    [...parameters].map(([name, value]) => [name, secret.test(name) ? "[masked]" : value]),
  );
}
