/** JSON schemas of the API's answers. */
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
const described = (schema: SchemaObject, description: string): SchemaObject => ({ ...schema, description });

const identity = { job: text, number: { type: "integer", minimum: 1 }, uuid: text };
const summary = {
  required: { ...identity, node: text, labels: texts, assigned: time },
  optional: {
    target: described(text, "The class or node that the client asked for."),
    started: time,
    ended: time,
    took: described(count, "How long it ran, in milliseconds."),
    ending: ref("Ending"),
    result: described(text, "The result sent to the client; absent if there is none."),
    change: ref("Change"),
  },
};
const outage = {
  required: {
    ...{ since: time, state: text, cause: text, reason: text },
    tries: described(count, "Failed tries to bring it back."),
  },
  optional: {
    who: described(text, "Who paused it."),
    builds: described(texts, "The builds that led to its quarantine."),
  },
};
const processes: SchemaObject = { type: "array", items: object({ pid: count, command: text }) };

const builds: Record<string, SchemaObject> = {
  Ending: object(
    {
      kind: { enum: ["passed", "failed", "stopped", "timed-out", "infrastructure", "lost"] },
      reason: described(text, "One line of text."),
    },
    { exitCode: count, signal: text, cause: described(text, "A code for what went wrong.") },
  ),
  Change: described(
    object(
      {},
      { project: text, branch: text, change: text, patchset: text, pipeline: text, ref: text, commit: text },
    ),
    "What the build tests, as its parameters say.",
  ),
  BuildSummary: object(summary.required, summary.optional),
  RunningBuild: object(
    {
      ...identity,
      node: text,
      phase: { enum: ["assigned", "preparing", "running", "collecting", "stopping", "ended"] },
      progress: described({ type: "integer", minimum: 0, maximum: 100 }, "Estimated percentage."),
      assigned: time,
    },
    {
      started: time,
      estimate: described({ type: "number" }, "Estimated duration in milliseconds, from earlier runs."),
    },
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
      running: described(ref("RunningBuild"), "Absent if it has ended."),
      device: text,
      description: described(text, "Sanitized HTML."),
      commit: text,
      inputs: {
        ...described({ type: "array" }, "The files that the client sent."),
        items: object({ name: text, size: count, sha256: text }, { url: text }),
      },
      console: object({ bytes: count, cut: described(count, "Bytes that were dropped.") }),
      tests: object(
        { tests: count, failures: count, errors: count, skipped: count },
        { time: { type: "number" } },
      ),
      steps: described(
        { type: "array", items: object({ name: text, started: time }, { took: count }) },
        "What it did, in order; took, in milliseconds, is absent while a step lasts.",
      ),
      leftovers: processes,
      survivors: processes,
      warnings: texts,
    },
  ),
  Artifact: object(
    { path: text, size: count, type: described(text, "Its media type.") },
    { stale: described({ const: true }, "It is older than the build.") },
  ),
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
      time: described({ type: "number" }, "Seconds."),
      status: { enum: ["passed", "failed", "error", "skipped"] },
    },
    { message: text, details: text },
  ),
  Sections: object({ sections: list("Section") }),
  Section: object(
    {
      from: described(count, "The line of its heading, counted from 0."),
      to: described({ type: ["integer", "null"], minimum: 0 }, "Its last line; null: it isn't over."),
      title: text,
    },
    { folded: described({ const: true }, "It asks to be folded.") },
  ),
  Lines: object({
    from: described(count, "The number of the first line, counted from 0."),
    total: described(
      { type: ["integer", "null"], minimum: 0 },
      "The number of lines; null if not counted yet.",
    ),
    lines: list("Line"),
  }),
  Line: object(
    { n: count, offset: count, text },
    {
      at: described(count, "When its first byte arrived, in Unix milliseconds, accurate to 100 ms."),
      cut: described(count, "Bytes left out of a very long line."),
    },
  ),
  Hits: object({
    hits: { type: "array", items: object({ n: count, offset: count, text }) },
    next: described(
      { type: ["integer", "null"], minimum: 0 },
      "The offset to continue the search from; null at the end.",
    ),
  }),
};

const lab: Record<string, SchemaObject> = {
  Error: object({ error: described(text, "One line of text.") }),
  Status: object({
    ...{ name: text, version: text, pid: count, since: time },
    state: { enum: ["running", "draining", "drained", "stopping", "stopped"] },
    files: texts,
    servers: {
      type: "array",
      items: object(
        {
          ...{ server: text, status: text },
          state: described(text, "Of the worst connection."),
          connections: object({ registered: count, total: count }),
        },
        { sharedName: described({ const: true }, "More than one connection answers for the agent's name.") },
      ),
    },
    nodes: list("Node"),
    running: list("RunningBuild"),
    recent: list("BuildSummary"),
    devices: list("DeviceStatus"),
  }),
  Node: object(
    {
      name: text,
      classes: texts,
      state: { enum: ["ready", "held"] },
      reasons: texts,
      functions: texts,
      executors: {
        type: "array",
        items: object(
          { index: count },
          {
            build: ref("BuildStatus"),
            blockedBy: described(
              { type: "array", items: count },
              "Processes of a build that can't be killed.",
            ),
          },
        ),
      },
      waiting: described({ type: "array", items: ref("BuildStatus") }, "Builds that wait for an executor."),
    },
    { outage: ref("Outage") },
  ),
  BuildStatus: object(
    { ...identity, phase: text, progress: count, assigned: time },
    {
      lease: described(
        object({ who: text, reason: text }, { until: time }),
        "Who has the board until when, and why, for a lease.",
      ),
    },
  ),
  DeviceList: object({ devices: list("DeviceStatus") }),
  DeviceStatus: object(
    {
      ...{ name: text, classes: texts, console: text, port: text },
      state: {
        enum: ["absent", "opening", "proving", "ready", "busy", "recovering", "paused", "quarantined"],
      },
      since: time,
      failures: count,
      history: described(
        { type: "array", items: object({ at: time, state: text }, { reason: text }) },
        "The latest states, oldest first.",
      ),
      counters: object({ received: count, sent: count, errors: count, lost: count, losses: count }),
    },
    { path: text, reason: text, who: text, outage: ref("Outage"), suspect: list("Suspicion") },
  ),
  Outage: object(outage.required, outage.optional),
  Suspicion: described(
    object({
      ...{ job: text, days: { enum: [7, 30] }, failed: count, builds: count },
      ...{ siblingFailed: count, siblingBuilds: count, p: { type: "number" } },
    }),
    "The board fails the job more often than its siblings do.",
  ),
  DeviceHistory: object({
    outages: described({ type: "array", items: ref("PastOutage") }, "Times without builds, newest first."),
    builds: described(
      { type: "array", items: ref("BoardBuild") },
      "How builds on the board ended, newest first.",
    ),
  }),
  PastOutage: object(
    { ...outage.required, causes: texts },
    { ...outage.optional, until: described(time, "Absent if it lasts.") },
  ),
  BoardBuild: object(
    { at: time, build: text, ending: text, cause: text },
    {
      lineErrors: count,
      bootMs: described(count, "How long the board took to start."),
      uncounted: described({ const: true }, "It says nothing about the board."),
    },
  ),
  Device: {
    allOf: [
      ref("DeviceStatus"),
      object({
        feed: object(
          { start: described(count, "The offset of the oldest byte still held."), end: count },
          { buildFrom: described(count, "Where the output of the running build starts.") },
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
    { kind: described(text, "Absent if it is no longer configured."), nodes: texts },
  ),
};

const boxes: Record<string, SchemaObject> = {
  Lab: object({
    version: { const: 1 },
    time,
    servers: { type: "array", items: object({ server: text }, { error: text }) },
    boxes: list("Box"),
    classes: list("Class"),
    boards: list("Board"),
    running: {
      type: "array",
      items: object({ box: text, node: text, name: text, number: count }, { url: text }),
    },
    queued: list("Queued"),
  }),
  Box: object(
    { name: text, state: { enum: ["up", "asked", "away"] } },
    {
      seen: described(time, "When it last answered this agent."),
      ...{ url: text, hostname: text, programVersion: text, life: text },
    },
  ),
  Class: object(
    { name: text, free: count, busy: count, sick: count, held: count, waiting: count },
    { waitingSince: time },
  ),
  Board: object(
    { box: text, name: text, classes: texts, state: { enum: ["free", "busy", "sick", "held"] } },
    { cause: text, reason: text, since: text, tries: count, who: text, url: text, suspect: text },
  ),
  Queued: object(
    {
      ...{ server: text, function: text, count },
      since: described(time, "When this agent first saw one wait."),
      orphan: described({ type: "boolean" }, "No connection has the function."),
    },
    { why: text },
  ),
};

export const schemas: Readonly<Record<string, SchemaObject>> = { ...builds, ...consoles, ...lab, ...boxes };
