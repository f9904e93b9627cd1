/** `builds`: how much of finished builds is kept. */
import type { SchemaObject } from "ajv";
import { bytes, kinds } from "../kinds.ts";

export interface BuildsConfig {
  /** Finished builds of each job. */
  readonly keep: number;
  readonly keepDays: number;
  readonly minFreeBytes: number;
  readonly maxConsoleBytes: number;
  /** All artifacts of a build together. */
  readonly maxArtifactsBytes: number;
  readonly maxArtifactFiles: number;
  /** One test report. */
  readonly maxReportBytes: number;
  readonly maxReportFiles: number;
  /** Whether OFFLINE_NODE_WHEN_COMPLETE pauses the node. */
  readonly offlineNode: boolean;
  /** Each cache of a job. */
  readonly maxCacheBytes: number;
}

/** The section once it has passed the schema. */
export interface BuildsDocument {
  readonly keep?: number;
  readonly "keep-days"?: number;
  readonly "min-free"?: string | number;
  readonly "max-console"?: string | number;
  readonly "max-artifacts"?: string | number;
  readonly "max-artifact-files"?: number;
  readonly "max-report"?: string | number;
  readonly "max-report-files"?: number;
  readonly "offline-node"?: boolean;
  readonly "max-cache"?: string | number;
}

const defaults = {
  ...{ keep: 200, keepDays: 30, minFree: "2GiB", maxConsole: "256MiB" },
  ...{ maxArtifacts: "1GiB", maxArtifactFiles: 1000, maxReport: "10MiB", maxReportFiles: 1000 },
  offlineNode: true,
  maxCache: "8GiB",
};

export const buildsSchema: SchemaObject = {
  type: ["object", "null"],
  description: "How many finished builds are kept, and how much of each.",
  additionalProperties: false,
  properties: {
    keep: {
      type: "integer",
      minimum: 1,
      maximum: 1_000_000,
      default: defaults.keep,
      description: "How many builds of each job are kept.",
    },
    "keep-days": {
      type: "integer",
      minimum: 1,
      maximum: 36_500,
      default: defaults.keepDays,
      description: "For how many days builds are kept.",
    },
    "min-free": {
      type: ["string", "integer"],
      kind: kinds.sizeOrZero,
      default: defaults.minFree,
      description: "With less free disk space than this, labgear takes no builds.",
    },
    "max-console": {
      type: ["string", "integer"],
      kind: kinds.size,
      default: defaults.maxConsole,
      description:
        "How much of a build's console is kept: its beginning and its end. A line says what is left out.",
    },
    "max-artifacts": {
      type: ["string", "integer"],
      kind: kinds.size,
      default: defaults.maxArtifacts,
      description: "How much a build's artifacts may take together. What exceeds it is left out.",
    },
    "max-artifact-files": {
      type: "integer",
      minimum: 1,
      maximum: 100_000,
      default: defaults.maxArtifactFiles,
      description: "How many artifacts of a build are kept.",
    },
    "max-report": {
      type: ["string", "integer"],
      kind: kinds.size,
      default: defaults.maxReport,
      description: "How large a JUnit report may be. A larger one is not read.",
    },
    "max-report-files": {
      type: "integer",
      minimum: 1,
      maximum: 100_000,
      default: defaults.maxReportFiles,
      description: "How many JUnit reports of a build are read.",
    },
    "offline-node": {
      type: "boolean",
      default: defaults.offlineNode,
      description:
        "Whether a client may pause a node after its build, with the parameter OFFLINE_NODE_WHEN_COMPLETE.",
    },
    "max-cache": {
      type: ["string", "integer"],
      kind: kinds.size,
      default: defaults.maxCache,
      description: "How large each cache of a job may be. A larger one is removed after the build.",
    },
  },
};

export function resolveBuilds(document: BuildsDocument): BuildsConfig {
  return {
    keep: document.keep ?? defaults.keep,
    keepDays: document["keep-days"] ?? defaults.keepDays,
    minFreeBytes: bytes(document["min-free"] ?? defaults.minFree),
    maxConsoleBytes: bytes(document["max-console"] ?? defaults.maxConsole),
    maxArtifactsBytes: bytes(document["max-artifacts"] ?? defaults.maxArtifacts),
    maxArtifactFiles: document["max-artifact-files"] ?? defaults.maxArtifactFiles,
    maxReportBytes: bytes(document["max-report"] ?? defaults.maxReport),
    maxReportFiles: document["max-report-files"] ?? defaults.maxReportFiles,
    offlineNode: document["offline-node"] ?? defaults.offlineNode,
    maxCacheBytes: bytes(document["max-cache"] ?? defaults.maxCache),
  };
}
