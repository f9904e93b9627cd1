/** `inputs` of a job: the files that clients send with a build; `inputs` of the box: their cache; `remote`: what clients may read. */
import type { SchemaObject } from "ajv";
import { parseSubnet } from "#/lib/subnet.ts";
import type { At, Finding } from "../errors.ts";
import { bytes, type Kind, kinds, matching, milliseconds } from "../kinds.ts";
import { entries, type Mapping, texts } from "../merge.ts";

/** A file that a job takes. */
export interface InputConfig {
  readonly name: string;
  readonly maxBytes: number;
  readonly optional: boolean;
  /** It may come from a URL below one of these, normalised. */
  readonly from: readonly string[];
  /** Private networks in which the hosts of those URLs may be. */
  readonly networks: readonly string[];
}

export interface InputsConfig {
  /** What the cache may take. */
  readonly keepBytes: number;
  /** How long a build waits for a client that sends nothing. */
  readonly timeoutMs: number;
  /** For all inputs of a build. */
  readonly maxTimeMs: number;
}

export type JobInputsDocument = Readonly<
  Record<
    string,
    { readonly max: string | number; readonly optional?: boolean; readonly from?: readonly string[] }
  >
>;

export interface InputsDocument {
  readonly keep?: string | number;
  readonly timeout?: string;
  readonly "max-time"?: string;
}

const defaults = { keep: "8GiB", timeout: "5m", maxTime: "30m" };

const inputName = matching(
  "the name of an input: lower-case letters, digits and _, a letter first",
  /^[a-z][a-z0-9_]{0,63}$/,
);

const from: Kind = {
  expected: "an http:// or https:// address, or a private network such as 10.7.0.0/16",
  refuse: (text) => {
    if (isNetwork(text)) return undefined;
    if (!URL.canParse(text)) return true;
    const url = new URL(text);
    if (!["http:", "https:"].includes(url.protocol)) return true;
    if (url.username || url.password)
      return "must not contain a user name or a password: everybody can see it";
    if (/[?#\s]/.test(text)) return "must not have a query, a fragment or white space";
    return undefined;
  },
};

/** An address alone is none: it could be meant as one to load from. */
function isNetwork(text: string): boolean {
  return text.includes("/") && parseSubnet(text) !== undefined;
}

export const jobInputsSchema: SchemaObject = {
  type: "object",
  description:
    "The files that a client sends with a build, by name. The job finds each as $LABGEAR_INPUT_NAME, and can't change it.",
  maxProperties: 64,
  propertyNames: { kind: inputName },
  additionalProperties: {
    type: "object",
    additionalProperties: false,
    required: ["max"],
    properties: {
      max: { type: ["string", "integer"], kind: kinds.size, description: "How large it may be." },
      optional: { type: "boolean", default: false, description: "Whether a build may do without it." },
      from: {
        type: "array",
        uniqueItems: true,
        items: { type: "string", kind: from },
        description:
          "It may come from a URL below one of these, with its SHA-256, instead of from the client. Hosts with private addresses also need their network in this list.",
      },
    },
  },
};

export const inputsSchema: SchemaObject = {
  type: ["object", "null"],
  description: "What clients send with their builds.",
  additionalProperties: false,
  properties: {
    keep: {
      type: ["string", "integer"],
      kind: kinds.sizeOrZero,
      default: defaults.keep,
      description:
        "How much of it is kept for later builds. What was not used for the longest time goes first.",
    },
    timeout: {
      type: "string",
      kind: kinds.duration,
      default: defaults.timeout,
      description: "How long a build waits for a client that sends nothing. Then it ends as FAILURE.",
    },
    "max-time": {
      type: "string",
      kind: kinds.duration,
      default: defaults.maxTime,
      description: "How long a build waits for all of its inputs.",
    },
  },
};

export interface RemoteConfig {
  /** Whether everybody at the job server may fetch results, even where the pages need a password. */
  readonly read: boolean;
  readonly console: boolean;
}

export interface RemoteDocument {
  readonly read?: boolean;
  readonly console?: boolean;
}

export const remoteSchema: SchemaObject = {
  type: ["object", "null"],
  description: "What clients may do through the job server.",
  additionalProperties: false,
  properties: {
    read: {
      type: "boolean",
      default: false,
      description:
        "Whether every client may fetch the results of every build, although the pages need a password. Without http.auth they may anyway.",
    },
    console: {
      type: "boolean",
      default: false,
      description: "Whether every client may watch the boards' consoles, except while they are leased.",
    },
  },
};

/** Secrets and what a client sends come together only where the lab says so. */
export function checkInputs(job: Mapping, at: At): Finding[] {
  const misplaced = entries(job.inputs).flatMap(([name, input]) => {
    const list = texts(input.from).map(([, text]) => text);
    const onlyNetworks = list.length > 0 && list.every(isNetwork);
    return onlyNetworks ? [at("names networks but no address to load from", "inputs", name, "from")] : [];
  });
  const isMixed = "inputs" in job && "secrets" in job && job["secrets-with-inputs"] !== true;
  const message =
    "can't go to a job with inputs, which a client's file could send anywhere; if the job only hands the files on, say secrets-with-inputs: true";
  return [...misplaced, ...(isMixed ? [at(message, "secrets")] : [])];
}

export function resolveJobInputs(document: JobInputsDocument): InputConfig[] {
  return Object.entries(document).map(([name, { max, optional = false, from: sources = [] }]) => ({
    name,
    maxBytes: bytes(max),
    optional,
    from: sources.filter((text) => !isNetwork(text)).map((text) => new URL(text).href),
    networks: sources.filter(isNetwork),
  }));
}

export function resolveInputs(document: InputsDocument): InputsConfig {
  return {
    keepBytes: bytes(document.keep ?? defaults.keep),
    timeoutMs: milliseconds(document.timeout ?? defaults.timeout),
    maxTimeMs: milliseconds(document["max-time"] ?? defaults.maxTime),
  };
}
