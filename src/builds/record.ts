/** The record of a build, `build.json`: all that is known about it. After a crash the last state is readable. */
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats, writeSync } from "node:fs";
import { open } from "node:fs/promises";
import type { Ajv, SchemaObject, ValidateFunction } from "ajv";
import { replaceFile, writeSynced } from "#/lib/replace-file.ts";
import { type Change, changeOf } from "./change.ts";
import type { TestCase } from "./junit-reader.ts";
import { openStored } from "./workspace/files.ts";

/** The shape of `build.json`. Times are ISO 8601 in UTC. */
export interface BuildRecord {
  readonly version: 1;
  readonly job: string;
  readonly number: number;
  /** The Gearman unique; Zuul's ZUUL_UUID. */
  readonly uuid: string;
  readonly node: string;
  /** The device it runs on; absent: the host. */
  readonly device?: string;
  /** The class or name the client asked for; absent: any. */
  readonly target?: string;
  readonly labels: readonly string[];
  /** From 0. Until the build has its turn, the executor that was handed its job. */
  executor: number;
  /** The job server it came from. */
  readonly server: string;
  /** The client's public key: what it signs belongs to the build. */
  readonly key?: string;
  /** The files that came with the build. */
  inputs?: readonly { name: string; size: number; sha256: string; url?: string }[];
  /** A digest of the function and the argument: the same unique with another request is another build. */
  readonly request?: string;
  readonly url: string;
  /** As the client sent them, with what looks like a secret masked. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly assigned: string;
  started?: string;
  ended?: string;
  /** Milliseconds of work, by the monotonic clock. */
  took?: number;
  ending?: Ending;
  /** What the client got; absent: none. */
  result?: string;
  /** The client may not have got the ending: it is sent again when the job is handed out again. */
  undelivered?: true;
  /** HTML from the client, not sanitised. */
  description?: string;
  /** The commit that was checked out. */
  commit?: string;
  console?: { bytes: number; cut: number };
  artifacts?: readonly { path: string; size: number; sha256?: string; stale?: true }[];
  tests?: { tests: number; failures: number; errors: number; skipped: number };
  /** What it did, in order. */
  steps?: readonly BuildStep[];
  /** Processes that outlived the job and were killed, by pid and command line. */
  leftovers?: readonly { pid: number; command: string }[];
  /** Processes that even SIGKILL didn't end. */
  survivors?: readonly { pid: number; command: string }[];
  warnings?: readonly string[];
}

/**
 * `inputs`: its client sends files. `reserve`: it waits for its board. `run`: a script on the host. `build`: a script that makes an
 * image. `boot`: the board starts, up to its prompt where it has one. `login`: to the prompt of a board that is up.
 */
export type StepName =
  | "inputs"
  | "reserve"
  | "checkout"
  | "run"
  | "build"
  | "flash"
  | "boot"
  | "login"
  | "test"
  | "collect";

export interface BuildStep {
  readonly name: StepName;
  readonly started: string;
  /** Milliseconds, by the monotonic clock; absent while it lasts. */
  readonly took?: number;
}

/** The part of a record that is kept in memory and in the index, whose version says its shape: enough for lists and estimates. */
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
  | "request"
  | "key"
> & {
  /** What it tests; absent: nothing says so. */
  readonly change?: Change;
};

export function summarize(record: BuildRecord): BuildSummary {
  const { job, number, uuid, node, labels, assigned } = record;
  const change = changeOf(record.parameters, record.commit);
  return {
    ...{ job, number, uuid, node, labels, assigned },
    ...(record.target === undefined ? {} : { target: record.target }),
    ...(record.started === undefined ? {} : { started: record.started }),
    ...(record.ended === undefined ? {} : { ended: record.ended }),
    ...(record.took === undefined ? {} : { took: record.took }),
    ...(record.ending === undefined ? {} : { ending: record.ending }),
    ...(record.result === undefined ? {} : { result: record.result }),
    ...(record.undelivered === undefined ? {} : { undelivered: record.undelivered }),
    ...(record.request === undefined ? {} : { request: record.request }),
    ...(record.key === undefined ? {} : { key: record.key }),
    ...(change === undefined ? {} : { change }),
  };
}

/**
 * Milliseconds that a finished build worked. Someone may have set the clock between the times of a record; `took` was
 * measured, but lost builds don't have it.
 */
export function durationOf({
  took,
  assigned,
  started = assigned,
  ended,
}: Pick<BuildRecord, "assigned" | "started" | "ended" | "took">): number | undefined {
  if (took !== undefined) return took;
  if (ended === undefined) return undefined;
  return Math.max(0, Date.parse(ended) - Date.parse(started));
}

export function recordFile(folder: string): string {
  return `${folder}/build.json`;
}

/**
 * Replaces the record as a whole.
 * @throws the file system's error; the old record is still there then
 */
export async function writeRecord(folder: string, record: BuildRecord): Promise<void> {
  await replaceFile(recordFile(folder), textOf(record));
}

/**
 * Writes the first record of a folder that nobody knows yet.
 * @throws the file system's error
 */
export async function writeFirstRecord(folder: string, record: BuildRecord): Promise<void> {
  await writeSynced(recordFile(folder), textOf(record));
}

function textOf(record: BuildRecord): string {
  return `${JSON.stringify(record, null, 2)}\n`;
}

/** As JSON.stringify() writes it; within a string its quotation marks would be escaped. */
const undeliveredMark = '"undelivered": true,';

/**
 * Removes `undelivered` from a record where it stands, which is the cheapest change there is: blanks of the same length take its
 * place. It isn't synced, since an ending that is sent twice does no harm.
 * @returns false when the record is written otherwise
 * @throws the file system's error
 */
export function blankUndelivered(folder: string): boolean {
  const { O_RDWR, O_NONBLOCK, O_NOFOLLOW } = constants;
  const file = openSync(recordFile(folder), O_RDWR | O_NONBLOCK | O_NOFOLLOW);
  try {
    const stat = fstatSync(file);
    if (!stat.isFile() || stat.size > maxShortRecord) return false;
    const at = readFileSync(file).indexOf(undeliveredMark);
    if (at < 0) return false;
    const blanks = Buffer.alloc(undeliveredMark.length, " ");
    return writeSync(file, blanks, 0, blanks.length, at) === blanks.length;
  } finally {
    closeSync(file);
  }
}

/** In bytes; it is read in one turn. */
const maxShortRecord = 256 * 1024;
/** In bytes: more than the largest launch can make of a record. */
const maxRecordSize = 256 * 1024 * 1024;

// O_NONBLOCK, since a job may have put a pipe in its place.
const readFlags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;

/**
 * Reads a record back.
 * @throws the file system's error, or SyntaxError for a damaged one
 */
export async function readRecord(folder: string): Promise<BuildRecord> {
  await using file = await open(recordFile(folder), readFlags);
  checkFile(await file.stat());
  const text = await file.readFile("utf8");
  const parse = await recordParser();
  return parse(text);
}

/** Like readRecord(), without giving way to anything else: of tens of thousands, the turns in between take most of the time. */
export async function recordReader(): Promise<(folder: string) => { record: BuildRecord; stat: Stats }> {
  const parse = await recordParser();
  return (folder) => {
    const file = openSync(recordFile(folder), readFlags);
    try {
      const stat = fstatSync(file);
      checkFile(stat);
      return { record: parse(readFileSync(file, "utf8")), stat };
    } finally {
      closeSync(file);
    }
  };
}

function checkFile(stat: Stats): void {
  if (!stat.isFile()) throw new SyntaxError("it is not a regular file");
  if (stat.size > maxRecordSize) throw new SyntaxError(`it is ${stat.size} bytes long`);
}

async function recordParser(): Promise<(text: string) => BuildRecord> {
  validator ??= compile();
  const { ajv, validate } = await validator;
  return (text) => {
    const value: unknown = JSON.parse(text);
    if (validate(value)) return value;
    const why = ajv.errorsText(validate.errors, { dataVar: "the record" });
    throw new SyntaxError(`this is JSON, but ${why}`);
  };
}

/** The test cases of a build, in its folder: the record has only their totals. */
export const casesFile = "tests.json";
/** More than the agent stores. */
const maxCasesBytes = 64 * 1024 * 1024;

/** @returns undefined when there are none, or a job has damaged them */
export async function readCases(folder: string): Promise<TestCase[] | undefined> {
  await using file = await openStored(folder, casesFile);
  if (!file || (await file.stat()).size > maxCasesBytes) return undefined;
  try {
    const cases: unknown = JSON.parse(await file.readFile("utf8"));
    return Array.isArray(cases) ? cases : undefined;
  } catch {
    return undefined;
  }
}

const kinds: Record<EndingKind, true> = {
  passed: true,
  failed: true,
  stopped: true,
  "timed-out": true,
  infrastructure: true,
  lost: true,
};

const text: SchemaObject = { type: "string" };
const count: SchemaObject = { type: "integer", minimum: 0 };
/** As toISOString() writes it: times compare as text. */
const time: SchemaObject = {
  type: "string",
  pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$",
};

function object(required: Record<string, SchemaObject>, optional: Record<string, SchemaObject> = {}) {
  return { type: "object", required: Object.keys(required), properties: { ...required, ...optional } };
}

function list(items: SchemaObject) {
  return { type: "array", items };
}

const processes = list(object({ pid: count, command: text }));

const schema: SchemaObject = object(
  {
    version: { const: 1 },
    job: text,
    number: { type: "integer", minimum: 1 },
    uuid: text,
    node: text,
    labels: list(text),
    executor: count,
    server: text,
    url: text,
    parameters: { type: "object", additionalProperties: text },
    assigned: time,
  },
  {
    device: text,
    target: text,
    request: text,
    key: text,
    inputs: list(object({ name: text, size: count, sha256: text }, { url: text })),
    started: time,
    ended: time,
    took: count,
    ending: object(
      { kind: { enum: Object.keys(kinds) }, reason: text },
      { exitCode: count, signal: text, cause: text },
    ),
    result: text,
    undelivered: { const: true },
    description: text,
    commit: text,
    console: object({ bytes: count, cut: count }),
    artifacts: list(object({ path: text, size: count }, { sha256: text, stale: { const: true } })),
    tests: object({ tests: count, failures: count, errors: count, skipped: count }),
    steps: list(object({ name: text, started: time }, { took: count })),
    leftovers: processes,
    survivors: processes,
    warnings: list(text),
  },
);

type Validator = { ajv: Ajv; validate: ValidateFunction<BuildRecord> };

let validator: Promise<Validator> | undefined;

/** Unknown keys stay. Loaded and compiled when the first record is read, without checking the schema itself: both would slow down each start. */
async function compile(): Promise<Validator> {
  const { Ajv } = await import("ajv");
  const ajv = new Ajv({ validateSchema: false, code: { optimize: false } });
  return { ajv, validate: ajv.compile<BuildRecord>(schema) };
}

export type EndingKind =
  /** The job passed. */
  | "passed"
  /** The job ran and failed: exit code, failed step. */
  | "failed"
  /** Stopped remotely or by hand. */
  | "stopped"
  /** The job's timeout ran out. */
  | "timed-out"
  /** Not the job's fault: disk full, checkout unreachable, agent going down. */
  | "infrastructure"
  /** The agent died while it ran. */
  | "lost";

/**
 * Whether an ending is the job's own. Such an ending is delivered even if that takes long; after any other one, a build that is
 * handed out again runs again.
 */
export function isOwn({ kind }: Ending): boolean {
  return kind !== "infrastructure" && kind !== "lost";
}

export interface Ending {
  readonly kind: EndingKind;
  /** What happened, in a line for people. */
  readonly reason: string;
  readonly exitCode?: number;
  readonly signal?: string;
  /** Names what went wrong, where the kind doesn't. */
  readonly cause?: string;
}

const causes: Record<EndingKind, string> = {
  ...{ passed: "passed", failed: "failed", stopped: "stopped" },
  ...{ "timed-out": "timeout", infrastructure: "box", lost: "lost" },
};

/** One word for programs. */
export function causeOf({ kind, cause }: Ending): string {
  return cause ?? causes[kind];
}
