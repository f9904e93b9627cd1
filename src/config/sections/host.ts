/** `host`: the box itself as a node. */
import type { SchemaObject } from "ajv";
import { kinds } from "../kinds.ts";
import { type Mapping, mapping } from "../merge.ts";

export interface HostConfig {
  /** `auto` stands for the classes that are derived from the hardware. */
  readonly classes: readonly string[];
  readonly executors: number;
}

/** The section once it has passed the schema. */
export type HostDocument = Partial<HostConfig>;

const defaults: HostConfig = { classes: ["auto"], executors: 1 };

export const hostSchema: SchemaObject = {
  type: ["object", "null"],
  description: "The box itself as a node.",
  additionalProperties: false,
  properties: {
    classes: {
      type: "array",
      minItems: 1,
      uniqueItems: true,
      items: { type: "string", kind: kinds.name },
      default: defaults.classes,
      description: "The classes that clients may ask for. auto stands for what the hardware is.",
    },
    executors: {
      type: "integer",
      minimum: 1,
      maximum: 256,
      default: defaults.executors,
      description: "How many builds run on the host at the same time.",
    },
  },
};

/**
 * @param data the merged files
 * @param hostNode the host's name as a node
 * @returns the names and classes that the host offers; undefined when `auto` is among them: they are known only on the hardware
 */
export function offeredByHost(data: Mapping, hostNode: unknown): string[] | undefined {
  const classes = mapping(data.host).classes ?? defaults.classes;
  if (!Array.isArray(classes) || classes.includes("auto")) return undefined;
  return [...classes, hostNode].filter((name) => typeof name === "string");
}

export function resolveHost(document: HostDocument): HostConfig {
  return { ...defaults, ...document };
}
