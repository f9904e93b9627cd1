/** The whole configuration, put together from its sections: the JSON schema (2020-12), the checks beyond it, and the resolved values. */
import type { SchemaObject } from "ajv";
import { shown } from "#/lib/text.ts";
import { parseDuration } from "#/lib/units.ts";
import type { Finding } from "./errors.ts";
import { type Kind, kinds, milliseconds, refuse } from "./kinds.ts";
import type { Mapping } from "./merge.ts";
import type { Config } from "./model.ts";
import type { ResolveFile } from "./named-files.ts";
import { type BuildsDocument, buildsSchema, resolveBuilds } from "./sections/builds.ts";
import {
  checkDevices,
  type DeviceDocument,
  deviceSchema,
  maxDevices,
  resolveDevice,
} from "./sections/device.ts";
import { type HostDocument, hostSchema, resolveHost } from "./sections/host.ts";
import { checkHttp, type HttpDocument, httpSchema, resolveHttp } from "./sections/http.ts";
import {
  type InputsDocument,
  inputsSchema,
  type RemoteDocument,
  remoteSchema,
  resolveInputs,
} from "./sections/inputs.ts";
import { checkJobs, type JobDocument, jobSchema, resolveJob } from "./sections/job.ts";
import { type LinksConfig, linksSchema } from "./sections/links.ts";
import { type NetworksDocument, networksSchema } from "./sections/networks.ts";
import {
  allServersTlsSchema,
  checkServers,
  resolveServers,
  type ServersDocument,
  serversSchema,
} from "./sections/servers.ts";

/** The merged files once they have passed the schema. A section without options is null. */
export interface ConfigDocument extends ServersDocument {
  readonly name?: string;
  readonly http?: HttpDocument | null;
  readonly host?: HostDocument | null;
  readonly builds?: BuildsDocument | null;
  readonly inputs?: InputsDocument | null;
  readonly remote?: RemoteDocument | null;
  readonly links?: LinksConfig | null;
  readonly networks?: NetworksDocument | null;
  readonly jobs?: Readonly<Record<string, JobDocument>> | null;
  readonly devices?: Readonly<Record<string, DeviceDocument>> | null;
  readonly history?: string;
  readonly "stop-timeout"?: string;
  readonly "drain-leases"?: string;
  readonly "orphan-timeout"?: string;
  readonly "infrastructure-result"?: string;
}

const defaults = { history: "400d", stopTimeout: "1h", drainLeases: "10m", orphanTimeout: "2m" };

const dayMs = 86_400_000;
const maxHistoryDays = 3660;

/** It ends in no timer, so it may be longer than other durations. */
const historyDuration: Kind = {
  expected: "a duration such as 400d",
  refuse: (text) => {
    const found = parseDuration(text);
    if (found === undefined) return true;
    const isRight = found >= 31 * dayMs && found <= maxHistoryDays * dayMs;
    return isRight ? undefined : `must be 31d at least and ${maxHistoryDays}d at most`;
  },
};

const result: Kind = {
  expected: "a result in capitals such as NODE_FAILURE, but not SUCCESS",
  refuse: (text) => (!/^[A-Z][A-Z0-9_]{0,99}$/.test(text) || text === "SUCCESS" ? true : undefined),
};

/** The keyword `kind` is ours (kinds.ts); `default` is for documentation: the sections fill the defaults in as they resolve. */
export const configSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "labgear's configuration",
  type: "object",
  additionalProperties: false,
  properties: {
    name: {
      type: "string",
      kind: kinds.name,
      description: "The name of this box: the manager's, and the host's as a node. Default: the host name.",
    },
    servers: serversSchema,
    tls: allServersTlsSchema,
    http: httpSchema,
    host: hostSchema,
    builds: buildsSchema,
    inputs: inputsSchema,
    remote: remoteSchema,
    links: linksSchema,
    networks: networksSchema,
    jobs: {
      type: ["object", "null"],
      description: "The jobs that clients can choose from, by name.",
      propertyNames: { kind: kinds.jobName },
      additionalProperties: jobSchema,
    },
    devices: {
      type: ["object", "null"],
      description: "The boards on serial ports, by name. Each is a node.",
      propertyNames: { kind: kinds.deviceName },
      maxProperties: maxDevices,
      additionalProperties: deviceSchema,
    },
    history: {
      type: "string",
      kind: historyDuration,
      default: defaults.history,
      description: "How long the history of each board is kept: its outages, and how its builds ended.",
    },
    "stop-timeout": {
      type: "string",
      kind: kinds.durationOrZero,
      default: defaults.stopTimeout,
      description: "How long the first SIGTERM waits for running builds before it stops them.",
    },
    "drain-leases": {
      type: "string",
      kind: kinds.durationOrZero,
      default: defaults.drainLeases,
      description: "How long leases go on after a drain has begun. Their holders are warned.",
    },
    "orphan-timeout": {
      type: "string",
      kind: kinds.durationOrZero,
      default: defaults.orphanTimeout,
      description:
        "How long a build goes on after its job server was lost. If no server asks for it again by then, it is stopped.",
    },
    "infrastructure-result": {
      type: "string",
      kind: result,
      description:
        "The result to send when the infrastructure failed, such as NODE_FAILURE, for Zuul older than 2.0. Default: none, and Zuul runs the build again.",
    },
  },
} as const satisfies SchemaObject;

/**
 * What the schema can't express: options that contradict each other or the box.
 * @param data the merged files; the schema may have refused them
 * @param hostName the name of the box where the files give none
 */
export function checkConfig(data: Mapping, hostName: string, resolveFile: ResolveFile): Finding[] {
  const hostNode = data.name ?? hostName;
  return [
    ...(data.name === undefined && refuse(kinds.name, hostName) !== undefined
      ? [
          {
            path: ["name"],
            message: `the option name is required: the host name ${shown(hostName)} can't be used`,
          },
        ]
      : []),
    ...checkServers(data, resolveFile),
    ...checkHttp(data, resolveFile),
    ...checkDevices(data, hostNode, resolveFile),
    ...checkJobs(data, hostNode, resolveFile),
  ];
}

/**
 * @param document has passed the schema and the checks
 * @param files the files it was read from
 */
export function resolveConfig(
  document: ConfigDocument,
  files: readonly string[],
  hostName: string,
  resolveFile: ResolveFile,
): Config {
  const { jobs, devices } = document;
  const infrastructureResult = document["infrastructure-result"];
  return {
    files,
    name: document.name ?? hostName,
    servers: resolveServers(document, resolveFile),
    http: resolveHttp(document.http ?? {}, hostName, resolveFile),
    host: resolveHost(document.host ?? {}),
    builds: resolveBuilds(document.builds ?? {}),
    inputs: resolveInputs(document.inputs ?? {}),
    links: document.links ?? {},
    remote: { read: document.remote?.read ?? false, console: document.remote?.console ?? false },
    jobs: new Map(
      Object.entries(jobs ?? {}).map(([name, entry]) => [
        name,
        resolveJob(name, entry, resolveFile, document.networks ?? {}),
      ]),
    ),
    devices: new Map(
      Object.entries(devices ?? {}).map(([name, entry]) => [name, resolveDevice(name, entry, resolveFile)]),
    ),
    historyMs: milliseconds(document.history ?? defaults.history),
    stopTimeoutMs: milliseconds(document["stop-timeout"] ?? defaults.stopTimeout),
    drainLeasesMs: milliseconds(document["drain-leases"] ?? defaults.drainLeases),
    orphanTimeoutMs: milliseconds(document["orphan-timeout"] ?? defaults.orphanTimeout),
    ...(infrastructureResult !== undefined && { infrastructureResult }),
  };
}
