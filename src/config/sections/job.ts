/** The JSON schema of one job, the entries of `jobs`. */
import type { SchemaObject } from "ajv";
import { defaults } from "../defaults.ts";
import { type FirmwareDocument, firmwareSchema } from "./firmware.ts";
import { type StepDocument, stepsSchema, type TransferDocument, transferSchema } from "./steps.ts";

const limits: SchemaObject = {
  type: ["object", "null"],
  description: "What one build may use, enforced by the cgroup; absent: no limit.",
  additionalProperties: false,
  properties: {
    memory: { type: ["string", "integer"], kind: "size", description: "Memory, such as 4GiB." },
    processes: {
      type: "integer",
      minimum: 1,
      maximum: 4_194_304,
      description: "How many processes and threads at once.",
    },
    cpu: { type: "string", kind: "share", description: "Processor time: 200% is two whole processors." },
  },
};

/** What a job can be: it has exactly one of these options. */
export const workOptions = ["run", "shell", "steps", "firmware"] as const;

/** The entry's type once it has passed the schema; the semantic checks see to it that it has one of workOptions. */
export interface JobDocument {
  readonly nodes?: readonly string[];
  readonly checkout?: boolean;
  readonly run?: string;
  readonly shell?: string;
  readonly put?: readonly TransferDocument[];
  readonly get?: readonly TransferDocument[];
  readonly steps?: readonly StepDocument[];
  readonly firmware?: FirmwareDocument;
  readonly timeout?: string;
  readonly grace?: string;
  readonly artifacts?: readonly string[];
  readonly junit?: readonly string[];
  readonly limits?: {
    readonly memory?: string | number;
    readonly processes?: number;
    readonly cpu?: string;
  } | null;
  readonly parameters?: readonly string[];
}

export const jobSchema: SchemaObject = {
  type: "object",
  additionalProperties: false,
  properties: {
    nodes: {
      type: "array",
      minItems: 1,
      uniqueItems: true,
      items: { type: "string", kind: "name" },
      description:
        "Classes or names of the nodes that may run it, hosts and devices; absent: every class of the host.",
    },
    checkout: {
      type: "boolean",
      default: false,
      description:
        "Check the project out first: ZUUL_PROJECT from ZUUL_URL at ZUUL_REF, and HEAD must be ZUUL_COMMIT.",
    },
    run: {
      type: "string",
      kind: "script",
      description:
        "The shell script that is the job, run in the build's workspace on the host; on a device, the port is its own meanwhile.",
    },
    shell: {
      type: "string",
      kind: "script",
      description: "The script that is the job, run on the board over its console.",
    },
    put: {
      type: "array",
      items: transferSchema("put", "A file of the workspace, and where it goes."),
      description: "Of shell: files that go to the board before the script.",
    },
    get: {
      type: "array",
      items: transferSchema("get", "A file of the board, and where it goes."),
      description:
        "Of shell: files that come back from the board after the script, when it has passed or failed.",
    },
    steps: stepsSchema,
    firmware: firmwareSchema,
    timeout: {
      type: "string",
      kind: "duration",
      default: defaults.timeout,
      description: "How long a build may take; then it ends as TIMED_OUT.",
    },
    grace: {
      type: "string",
      kind: "duration-or-none",
      default: defaults.grace,
      description: "How long a stopped build has between SIGTERM and the kill.",
    },
    artifacts: {
      type: "array",
      uniqueItems: true,
      items: { type: "string", kind: "glob" },
      description: "Files to keep with the build: patterns relative to the workspace.",
    },
    junit: {
      type: "array",
      uniqueItems: true,
      items: { type: "string", kind: "glob" },
      description: "JUnit XML reports to show with the build: patterns relative to the workspace.",
    },
    limits,
    parameters: {
      type: "array",
      uniqueItems: true,
      items: { type: "string", kind: "parameter" },
      description:
        "Parameters of the client that become environment variables, besides ZUUL_*, LOG_PATH, BASE_LOG_PATH and SWIFT_*.",
    },
  },
};
