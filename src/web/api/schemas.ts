/** The shapes of the API's answers, as JSON schemas. */
import type { SchemaObject } from "ajv";

const text: SchemaObject = { type: "string" };
const count: SchemaObject = { type: "integer", minimum: 0 };
const time: SchemaObject = { type: "string", format: "date-time" };
const texts: SchemaObject = { type: "array", items: text };

function object(
  required: Record<string, SchemaObject>,
  optional: Record<string, SchemaObject> = {},
): SchemaObject {
  return { type: "object", required: Object.keys(required), properties: { ...required, ...optional } };
}

const ref = (name: string): SchemaObject => ({ $ref: `#/components/schemas/${name}` });
const list = (name: string): SchemaObject => ({ type: "array", items: ref(name) });
const told = (schema: SchemaObject, description: string): SchemaObject => ({ ...schema, description });

const identity = { job: text, number: { type: "integer", minimum: 1 }, uuid: text };
const summary = {
  required: { ...identity, node: text, labels: texts, assigned: time },
  optional: {
    target: told(text, "The class or name that the client asked for."),
    started: time,
    ended: time,
    took: told(count, "Milliseconds that it worked."),
    ending: ref("Ending"),
    result: told(text, "What the client was told; absent for none."),
  },
};
const processes: SchemaObject = { type: "array", items: object({ pid: count, command: text }) };

const builds: Record<string, SchemaObject> = {
  Ending: object(
    {
      kind: { enum: ["passed", "failed", "stopped", "timed-out", "infrastructure", "lost"] },
      reason: told(text, "One line for people."),
    },
    { exitCode: count, signal: text, cause: told(text, "What went wrong with a board, by its name.") },
  ),
  BuildSummary: object(summary.required, summary.optional),
  RunningBuild: object(
    {
      ...identity,
      node: text,
      phase: { enum: ["assigned", "preparing", "running", "collecting", "stopping", "ended"] },
      progress: told({ type: "integer", minimum: 0, maximum: 100 }, "Percent, estimated."),
      assigned: time,
    },
    { started: time, estimate: told({ type: "number" }, "Milliseconds that it takes by earlier runs.") },
  ),
  ListedBuild: object(summary.required, { ...summary.optional, running: ref("RunningBuild") }),
  BuildList: object({ builds: list("ListedBuild"), total: count }),
  Build: object(
    {
      ...summary.required,
      executor: count,
      server: text,
      url: text,
      parameters: { type: "object", additionalProperties: text },
      artifacts: list("Artifact"),
    },
    {
      ...summary.optional,
      running: told(ref("RunningBuild"), "Absent: it has ended."),
      device: text,
      description: told(text, "HTML, sanitised."),
      commit: text,
      console: object({ bytes: count, cut: told(count, "Bytes that were not kept.") }),
      tests: object(
        { tests: count, failures: count, errors: count, skipped: count },
        { time: { type: "number" } },
      ),
      leftovers: processes,
      survivors: processes,
      warnings: texts,
    },
  ),
  Artifact: object({ path: text, size: count, type: told(text, "Its media type.") }),
};

const consoles: Record<string, SchemaObject> = {
  TestReport: object({
    totals: object({
      tests: count,
      failures: count,
      errors: count,
      skipped: count,
      time: { type: "number" },
    }),
    cases: list("TestCase"),
    warnings: texts,
  }),
  TestCase: object(
    {
      suite: text,
      name: text,
      classname: text,
      time: told({ type: "number" }, "Seconds."),
      status: { enum: ["passed", "failed", "error", "skipped"] },
    },
    { message: text, details: text },
  ),
  Lines: object({
    from: told(count, "The number of the first line, from 0."),
    total: told({ type: ["integer", "null"], minimum: 0 }, "How many there are; null: not counted yet."),
    lines: list("Line"),
  }),
  Line: object(
    { n: count, offset: count, text },
    {
      at: told(count, "When it began to come: Unix milliseconds, to 100 ms."),
      cut: told(count, "Bytes of a very long line that are left out."),
    },
  ),
  Hits: object({
    hits: { type: "array", items: object({ n: count, offset: count, text }) },
    next: told(
      { type: ["integer", "null"], minimum: 0 },
      "The offset to search on from; null: that was all.",
    ),
  }),
};

const lab: Record<string, SchemaObject> = {
  Error: object({ error: told(text, "One line for people.") }),
  Status: object({
    ...{ name: text, version: text, pid: count, since: time },
    state: { enum: ["running", "draining", "drained", "stopping", "stopped"] },
    files: texts,
    servers: { type: "array", items: object({ server: text, state: text, status: text }) },
    nodes: list("Node"),
    running: list("RunningBuild"),
    recent: list("BuildSummary"),
    devices: list("DeviceStatus"),
  }),
  Node: object({
    name: text,
    classes: texts,
    state: { enum: ["ready", "held"] },
    reasons: texts,
    functions: texts,
    executors: { type: "array", items: object({ index: count }, { build: ref("BuildStatus") }) },
  }),
  BuildStatus: object({ ...identity, phase: text, progress: count, assigned: time }),
  DeviceList: object({ devices: list("DeviceStatus") }),
  DeviceStatus: object(
    {
      ...{ name: text, classes: texts, console: text, port: text },
      state: {
        enum: ["absent", "opening", "proving", "ready", "busy", "recovering", "paused", "quarantined"],
      },
      since: time,
      failures: count,
      history: told(
        { type: "array", items: object({ at: time, state: text }, { reason: text }) },
        "The latest states, the oldest first.",
      ),
      counters: object({ received: count, sent: count, errors: count, lost: count }),
    },
    { path: text, reason: text, who: text },
  ),
  Device: {
    allOf: [
      ref("DeviceStatus"),
      object({
        feed: object(
          { start: told(count, "The offset of the oldest byte that is kept."), end: count },
          { buildFrom: told(count, "Where the build that runs began.") },
        ),
      }),
    ],
  },
  JobList: object({ jobs: list("Job") }),
  Job: object(
    {
      name: text,
      builds: object({ running: count, finished: count, passed: count }, { latest: count }),
    },
    { kind: told(text, "Absent: it isn't configured any more."), nodes: texts },
  ),
};

export const schemas: Readonly<Record<string, SchemaObject>> = { ...builds, ...consoles, ...lab };
