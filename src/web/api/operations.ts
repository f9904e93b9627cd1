/** The routes of the API, as its description tells of them. */
import type { SchemaObject } from "ajv";

interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required: boolean;
  readonly description: string;
  readonly schema: SchemaObject;
}

export interface Operation {
  readonly path: string;
  readonly id: string;
  readonly summary: string;
  readonly parameters?: Readonly<Record<string, Parameter>>;
  /** The schema of a good answer; absent: it isn't JSON. */
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
const offset = inQuery("from", "The offset to begin at.", whole(0));
const lastEvent: Parameter = {
  name: "Last-Event-ID",
  in: "header",
  required: false,
  description: "The id of the last event that came: it goes on from there.",
  schema: { type: "string", pattern: "^[0-9]{1,15}$" },
};

export const operations: readonly Operation[] = [
  {
    path: "/api/status",
    id: "status",
    summary: "The agent, what runs, what ran last.",
    answer: ref("Status"),
  },
  {
    path: "/api/builds",
    id: "builds",
    summary: "Builds, running and finished, the newest first.",
    parameters: {
      job: inQuery("job", "Of this job alone.", { type: "string" }),
      limit: inQuery("limit", "How many at most; 50 unless it is given.", whole(1, 1000)),
      before: inQuery("before", "Those with a lower number; goes with job.", whole(1)),
    },
    answer: ref("BuildList"),
    errors: [400],
  },
  {
    path: "/api/builds/{job}/{number}",
    id: "build",
    summary: "All that is known of a build.",
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
    summary: "The console of a build by its lines.",
    parameters: {
      ...{ job, number },
      from: inQuery("from", "The first line, from 0; negative: so many from the end.", whole(-2000)),
      count: inQuery("count", "How many at most; 200 unless it is given.", whole(1, 2000)),
    },
    answer: ref("Lines"),
    errors: [400, 404],
  },
  {
    path: "/api/builds/{job}/{number}/search",
    id: "search",
    summary: "The lines of a build's console that have a text; letters of ASCII in either case.",
    parameters: {
      ...{ job, number, from: offset },
      q: inQuery("q", "The text.", { type: "string", minLength: 1, maxLength: 1000 }, true),
    },
    answer: ref("Hits"),
    errors: [400, 404],
  },
  { path: "/api/jobs", id: "jobs", summary: "Jobs, configured or with builds.", answer: ref("JobList") },
  {
    path: "/api/jobs/{job}",
    id: "job",
    summary: "A job.",
    parameters: { job },
    answer: ref("Job"),
    errors: [404],
  },
  { path: "/api/devices", id: "devices", summary: "The devices.", answer: ref("DeviceList") },
  {
    path: "/api/devices/{name}",
    id: "device",
    summary: "A device, and where its console is.",
    parameters: { device },
    answer: ref("Device"),
    errors: [404],
  },
  { path: "/api/openapi.json", id: "openapi", summary: "This description.", answer: { type: "object" } },
  {
    path: "/builds/{job}/{number}/console",
    id: "console",
    summary: "The console of a build as plain text; a Range is served.",
    parameters: {
      ...{ job, number, from: offset },
      follow: inQuery("follow", "With what comes, until the build ends.", { type: "string" }),
    },
    type: "text/plain",
  },
  {
    path: "/builds/{job}/{number}/events",
    id: "consoleEvents",
    summary:
      "The console of a build as it comes: `output` {offset, at, text or base64}, `gap` {from, to} for what a slow reader missed, `state` with the build, `end`. The id is the offset to go on from.",
    parameters: { job, number, from: offset, lastEvent },
    type: "text/event-stream",
  },
  {
    path: "/devices/{name}/events",
    id: "deviceEvents",
    summary: "The console of a device as it comes, with the same events.",
    parameters: { device, from: offset, lastEvent },
    type: "text/event-stream",
  },
  {
    path: "/events",
    id: "statusEvents",
    summary: "`status` with what /api/status answers, when it changes.",
    type: "text/event-stream",
  },
];
