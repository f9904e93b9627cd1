/** `builds`: how much of finished builds is kept. */
import type { SchemaObject } from "ajv";
import { bytes, kinds } from "../kinds.ts";

export interface BuildsConfig {
  /** Finished builds of each job. */
  readonly keep: number;
  readonly keepDays: number;
  readonly minFreeBytes: number;
  readonly maxConsoleBytes: number;
}

/** The section once it has passed the schema. */
export interface BuildsDocument {
  readonly keep?: number;
  readonly "keep-days"?: number;
  readonly "min-free"?: string | number;
  readonly "max-console"?: string | number;
}

const defaults = { keep: 200, keepDays: 30, minFree: "2GiB", maxConsole: "256MiB" };

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
      description: "How much of a build's console is kept. The rest is dropped, and the log says so.",
    },
  },
};

export function resolveBuilds(document: BuildsDocument): BuildsConfig {
  return {
    keep: document.keep ?? defaults.keep,
    keepDays: document["keep-days"] ?? defaults.keepDays,
    minFreeBytes: bytes(document["min-free"] ?? defaults.minFree),
    maxConsoleBytes: bytes(document["max-console"] ?? defaults.maxConsole),
  };
}
