/** What has to be right in a `build.json` before the rest of the program believes it, as a JSON schema. */
import { Ajv, type SchemaObject } from "ajv";
import type { EndingKind } from "./ending.ts";
import type { BuildRecord } from "./record.ts";

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
/** As toISOString() has it, so that times can be compared as text. */
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
    artifacts: list(object({ path: text, size: count })),
    tests: object({ tests: count, failures: count, errors: count, skipped: count }),
    leftovers: processes,
    survivors: processes,
    warnings: list(text),
  },
);

/** Compiled when the first record is read. Without looking at the schema itself, which is ours: both take longer than all else here. */
const reader = lazily(() => {
  const ajv = new Ajv({ validateSchema: false, code: { optimize: false } });
  return { ajv, validate: ajv.compile<BuildRecord>(schema) };
});

/**
 * A build's record out of any JSON value. Keys that aren't known here stay.
 * @throws SyntaxError that says what is wrong with it
 */
export function parseRecord(value: unknown): BuildRecord {
  const { ajv, validate } = reader();
  if (validate(value)) return value;
  throw new SyntaxError(`this is JSON, but ${ajv.errorsText(validate.errors, { dataVar: "the record" })}`);
}

function lazily<Value>(make: () => Value): () => Value {
  let made: Value | undefined;
  return () => (made ??= make());
}
