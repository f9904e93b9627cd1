/** The OpenAPI 3.1 description of the API, with the schemas that the tests check its answers against. */
import type { SchemaObject } from "ajv";
import { filterNames, filters } from "#/builds/filter.ts";
import { schemas } from "./schemas.ts";

/**
 * The version of the API, not of the program. New keys and routes raise the minor version, because clients should ignore keys
 * they don't know; every other change raises the major version.
 */
const apiVersion = "1.1.0";

interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required: boolean;
  readonly description: string;
  readonly schema: SchemaObject;
}

interface Operation {
  readonly path: string;
  readonly id: string;
  readonly summary: string;
  readonly parameters?: Readonly<Record<string, Parameter>>;
  /** The schema of a successful answer; absent if it isn't JSON. */
  readonly answer?: SchemaObject;
  readonly type?: string;
  readonly errors?: readonly number[];
}

const ref = (name: string): SchemaObject => ({ $ref: `#/components/schemas/${name}` });

function inPath(name: string, description: string, schema: SchemaObject): Parameter {
  return { name, in: "path", required: true, description, schema };
}

function inQuery(name: string, description: string, schema: SchemaObject, required = false): Parameter {
  return { name, in: "query", required, description, schema };
}

const whole = (minimum: number, maximum?: number): SchemaObject => ({
  type: "integer",
  minimum,
  ...(maximum !== undefined && { maximum }),
});
const job = inPath("job", "The job's name.", { type: "string" });
const number = inPath("number", "The build's number.", whole(1));
const device = inPath("name", "The device's name.", { type: "string" });
const offset = inQuery("from", "The offset to start at.", whole(0));
const lastEvent: Parameter = {
  name: "Last-Event-ID",
  in: "header",
  required: false,
  description: "The id of the last event received; the stream continues from there.",
  schema: { type: "string", pattern: "^[0-9]{1,15}$" },
};

/** @internal */
export const operations: readonly Operation[] = [
  {
    path: "/api/status",
    id: "status",
    summary: "The agent, running builds, and recent builds.",
    answer: ref("Status"),
  },
  {
    path: "/api/builds",
    id: "builds",
    summary: "Running and finished builds, newest first.",
    parameters: {
      ...Object.fromEntries(
        filterNames.map((name) => [
          name,
          inQuery(name, `Only builds with ${filters[name]}.`, { type: "string" }),
        ]),
      ),
      limit: inQuery("limit", "The maximum number of builds; 50 by default.", whole(1, 1000)),
      skip: inQuery("skip", "How many of the newest to leave out.", whole(0)),
      before: inQuery("before", "Only builds with a lower number; requires job.", whole(1)),
    },
    answer: ref("BuildList"),
    errors: [400],
  },
  {
    path: "/api/builds/{job}/{number}",
    id: "build",
    summary: "Everything known about a build.",
    parameters: { job, number },
    answer: ref("Build"),
    errors: [404],
  },
  {
    path: "/api/builds/{job}/{number}/tests",
    id: "tests",
    summary: "The test reports of a build.",
    parameters: { job, number },
    answer: ref("TestReport"),
    errors: [404],
  },
  {
    path: "/api/builds/{job}/{number}/lines",
    id: "lines",
    summary: "Lines of the console of a build.",
    parameters: {
      ...{ job, number },
      from: inQuery("from", "The first line, counted from 0, or from the end if negative.", whole(-2000)),
      count: inQuery("count", "The maximum number of lines; 200 by default.", whole(1, 2000)),
    },
    answer: ref("Lines"),
    errors: [400, 404],
  },
  {
    path: "/api/builds/{job}/{number}/search",
    id: "search",
    summary: "Lines of the console of a build that contain a text. ASCII letters match in either case.",
    parameters: {
      ...{ job, number, from: offset },
      q: inQuery("q", "The text to search for.", { type: "string", minLength: 1, maxLength: 1000 }, true),
    },
    answer: ref("Hits"),
    errors: [400, 404],
  },
  {
    path: "/api/builds/{job}/{number}/sections",
    id: "sections",
    summary: "The sections of the console of a build, by the marks of GitHub, GitLab, Azure and Buildkite.",
    parameters: { job, number },
    answer: ref("Sections"),
    errors: [404],
  },
  {
    path: "/api/builds/{job}/{number}/errors",
    id: "errors",
    summary:
      "Lines of the console of a build that report an error of a compiler, test runner, kernel or shell.",
    parameters: { job, number, from: offset },
    answer: ref("Hits"),
    errors: [400, 404],
  },
  {
    path: "/api/builds/{job}/{number}/serial",
    id: "serial",
    summary:
      "What went over the serial line during a build on a device, as JSON lines: {at, kind: received, sent or note, text or base64}.",
    parameters: { job, number },
    type: "application/jsonl",
    errors: [404],
  },
  {
    path: "/api/jobs",
    id: "jobs",
    summary: "Jobs that are configured or have builds.",
    answer: ref("JobList"),
  },
  {
    path: "/api/jobs/{job}",
    id: "job",
    summary: "A job.",
    parameters: { job },
    answer: ref("Job"),
    errors: [404],
  },
  {
    path: "/api/lab",
    id: "lab",
    summary: "All boxes of the job servers: classes, boards, what runs and what waits.",
    answer: ref("Lab"),
  },
  { path: "/api/devices", id: "devices", summary: "The devices.", answer: ref("DeviceList") },
  {
    path: "/api/devices/{name}",
    id: "device",
    summary: "A device, and the offsets of its console.",
    parameters: { device },
    answer: ref("Device"),
    errors: [404],
  },
  {
    path: "/api/devices/{name}/history",
    id: "deviceHistory",
    summary: "When a board took no builds and why, and how its builds ended.",
    parameters: { device, days: inQuery("days", "How many days back; 30 by default.", whole(1, 3660)) },
    answer: ref("DeviceHistory"),
    errors: [400, 404],
  },
  { path: "/api/openapi.json", id: "openapi", summary: "This document.", answer: { type: "object" } },
  {
    path: "/builds/{job}/{number}/console",
    id: "console",
    summary: "The console of a build as plain text. Range requests are supported.",
    parameters: {
      ...{ job, number, from: offset },
      follow: inQuery("follow", "Keep sending output until the build ends.", { type: "string" }),
    },
    type: "text/plain",
  },
  {
    path: "/builds/{job}/{number}/serial",
    id: "capture",
    summary:
      "The same as a file, byte for byte; its first lines describe the format. Range requests are supported.",
    parameters: { job, number },
    type: "application/octet-stream",
    errors: [404],
  },
  {
    path: "/builds/{job}/{number}/events",
    id: "consoleEvents",
    summary:
      "The live console of a build: `output` {offset, at, text or base64}, `gap` {from, to} for bytes that a slow reader missed, `state` with the build, `end`. The id is the offset to continue from.",
    parameters: { job, number, from: offset, lastEvent },
    type: "text/event-stream",
  },
  {
    path: "/devices/{name}/events",
    id: "deviceEvents",
    summary: "The live console of a device, with the same events.",
    parameters: { device, from: offset, lastEvent },
    type: "text/event-stream",
  },
  {
    path: "/lab/events",
    id: "labEvents",
    summary: "`status` with the answer of /api/lab, whenever it changes.",
    type: "text/event-stream",
  },
  {
    path: "/events",
    id: "statusEvents",
    summary: "`status` with the answer of /api/status, whenever it changes.",
    type: "text/event-stream",
  },
];

/** @param program the version of labgear */
export function openApi(program: string) {
  return {
    openapi: "3.1.0",
    info: {
      title: "labgear",
      version: apiVersion,
      summary: "The builds, nodes and boards of one box, read only.",
      description: `Served by labgear ${program}. Times are ISO 8601 in UTC, or Unix milliseconds where they are numbers; offsets and sizes are bytes. Later versions may add keys.`,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    security: [{}, { basic: [] }, { token: [] }],
    paths: Object.fromEntries(
      operations.map(({ path, ...operation }) => [path, { get: describe(operation) }]),
    ),
    components: {
      schemas,
      securitySchemes: {
        basic: { type: "http", scheme: "basic" },
        token: { type: "http", scheme: "bearer" },
      },
    },
  };
}

function describe({
  id,
  summary,
  parameters = {},
  answer,
  type = "application/json",
  errors = [],
}: Omit<Operation, "path">) {
  return {
    operationId: id,
    summary,
    parameters: Object.values(parameters),
    responses: {
      200: { description: summary, content: { [type]: answer ? { schema: answer } : {} } },
      ...Object.fromEntries(
        errors.map((status) => [
          status,
          {
            description: "The request can't be answered; the error says why.",
            content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
          },
        ]),
      ),
    },
  };
}
