/**
 * The JSON schema (2020-12) of the configuration files, all merged.
 * `kind` is our keyword for a text's meaning (kinds.ts); `default` is for readers and is filled in by resolve.ts.
 */
import type { SchemaObject } from "ajv";
import { defaults } from "./defaults.ts";
import { type DeviceDocument, deviceSchema, mostDevices } from "./sections/device.ts";
import { type HttpDocument, httpSchema } from "./sections/http.ts";
import { type JobDocument, jobSchema } from "./sections/job.ts";

export interface TlsDocument {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** The type of the merged files once they have passed the schema. A section without anything in it is null. */
export interface ConfigDocument {
  readonly name?: string;
  readonly servers?: readonly (string | { readonly server: string; readonly tls?: TlsDocument })[];
  readonly tls?: TlsDocument;
  readonly http?: HttpDocument | null;
  readonly host?: { readonly classes?: readonly string[]; readonly executors?: number } | null;
  readonly builds?: {
    readonly keep?: number;
    readonly "keep-days"?: number;
    readonly "min-free"?: string | number;
    readonly "max-console"?: string | number;
  } | null;
  readonly jobs?: Readonly<Record<string, JobDocument>> | null;
  readonly devices?: Readonly<Record<string, DeviceDocument>> | null;
  readonly "stop-timeout"?: string;
  readonly "orphan-timeout"?: string;
  readonly "infrastructure-result"?: string;
}

const tls = (description: string): SchemaObject => ({
  type: "object",
  description,
  additionalProperties: false,
  dependentRequired: { cert: ["key"], key: ["cert"] },
  properties: {
    ca: {
      type: "string",
      kind: "file",
      description: "Certificates that the server's is checked against (PEM); absent: the system's.",
    },
    cert: { type: "string", kind: "file", description: "The box's own certificate (PEM)." },
    key: { type: "string", kind: "file", description: "The private key of cert (PEM)." },
  },
});

const host: SchemaObject = {
  type: ["object", "null"],
  description: "The box itself as a node.",
  additionalProperties: false,
  properties: {
    classes: {
      type: "array",
      minItems: 1,
      uniqueItems: true,
      items: { type: "string", kind: "name" },
      default: defaults.classes,
      description: "What clients may ask for as a node; auto: what the hardware says it is.",
    },
    executors: {
      type: "integer",
      minimum: 1,
      maximum: 256,
      default: defaults.executors,
      description: "How many builds run at once on the host.",
    },
  },
};

const builds: SchemaObject = {
  type: ["object", "null"],
  description: "What is kept of finished builds.",
  additionalProperties: false,
  properties: {
    keep: {
      type: "integer",
      minimum: 1,
      maximum: 1_000_000,
      default: defaults.keep,
      description: "How many builds of each job.",
    },
    "keep-days": {
      type: "integer",
      minimum: 1,
      maximum: 36_500,
      default: defaults.keepDays,
      description: "For how many days.",
    },
    "min-free": {
      type: ["string", "integer"],
      kind: "size-or-none",
      default: defaults.minFree,
      description: "Free disk space below which no build is taken.",
    },
    "max-console": {
      type: ["string", "integer"],
      kind: "size",
      default: defaults.maxConsole,
      description: "How much of a build's console is kept; the rest is dropped, and the log says so.",
    },
  },
};

export const configSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "labgear's configuration",
  type: "object",
  additionalProperties: false,
  properties: {
    name: {
      type: "string",
      kind: "name",
      description: "The manager's name, and the host's as a node; absent: the host's name.",
    },
    servers: {
      type: "array",
      description:
        "Gearman job servers, all served at once: HOST[:PORT] (port 4730), or server and tls; none: an embedded one on 127.0.0.1:4730, or whichever listens there.",
      items: {
        type: ["string", "object"],
        kind: "server",
        additionalProperties: false,
        required: ["server"],
        properties: {
          server: { type: "string", kind: "server", description: "HOST[:PORT]" },
          tls: tls("TLS towards this server, in place of the tls for all."),
        },
      },
    },
    tls: tls("TLS towards all servers; file names are relative to the file they stand in."),
    http: httpSchema,
    host,
    builds,
    jobs: {
      type: ["object", "null"],
      description: "The jobs that clients may choose among, by name.",
      propertyNames: { kind: "job-name" },
      additionalProperties: jobSchema,
    },
    devices: {
      type: ["object", "null"],
      description: "The boards on serial links, each a node of its own, by name.",
      propertyNames: { kind: "device-name" },
      maxProperties: mostDevices,
      additionalProperties: deviceSchema,
    },
    "stop-timeout": {
      type: "string",
      kind: "duration-or-none",
      default: defaults.stopTimeout,
      description: "How long the first SIGTERM waits for running builds before it stops them.",
    },
    "orphan-timeout": {
      type: "string",
      kind: "duration-or-none",
      default: defaults.orphanTimeout,
      description:
        "How long a build runs on whose job server was lost, before it is stopped because no server asked for it again.",
    },
    "infrastructure-result": {
      type: "string",
      kind: "result",
      description:
        "The result sent when the infrastructure failed, such as NODE_FAILURE, for Zuul older than 2.0; absent: none, and Zuul runs the build again.",
    },
  },
} as const satisfies SchemaObject;
