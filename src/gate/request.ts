/** What a caller asks for when it submits a build: JSON from outside, checked key by key. */

import { type AnnouncedInput, isClientTimeout } from "#/exchange/inputs.ts";
import { parsePublicKey } from "#/exchange/key.ts";
import { leaseJob } from "#/exchange/lease.ts";
import {
  isBuildName,
  isCount,
  isDigest,
  isInputName,
  isLine,
  isObject,
  type JsonObject,
} from "#/exchange/message.ts";
import { shown } from "#/lib/text.ts";
import { Refusal } from "./errors.ts";
import type { Priority } from "./rules.ts";

export interface BuildRequest {
  readonly job: string;
  /** A class of nodes, or a node's name. */
  readonly node?: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly inputs: readonly (AnnouncedInput & { readonly size: number })[];
  readonly priority?: Priority;
  /** Without a sign of life of the caller for so long, the build is stopped. */
  readonly clientTimeoutMs?: number;
  /** The job is `lease`. */
  readonly lease?: LeaseWish;
}

export interface LeaseWish {
  /** Absent: as long as the rule allows. */
  readonly forMs?: number;
  readonly reason: string;
  /** The holder's, whose signature what is typed carries. */
  readonly publicKey: string;
}

const maxParameters = 100;
const maxValueLength = 8192;
const maxInputs = 64;
const keys = ["job", "node", "parameters", "inputs", "priority", "client_timeout", "lease"];

/** @throws Refusal malformed */
export function parseBuildRequest(value: unknown): BuildRequest {
  if (!isObject(value)) throw malformed("the request is no JSON object");
  refuseOthers(value, keys, "the request");
  const { job, node, priority, client_timeout: timeout } = value;
  // A colon would make it another function.
  if (!isFunctionPart(job)) throw malformed("job is no name of a job");
  if (node !== undefined && !isFunctionPart(node)) throw malformed("node is no class and no name of a node");
  if (priority !== undefined && !isPriority(priority)) throw malformed("priority is high, normal or low");
  if (timeout !== undefined && !(isCount(timeout) && (timeout === 0 || isClientTimeout(timeout))))
    throw malformed("client_timeout is 0, or a number of seconds from 5 to 86400");
  if ((job === leaseJob) !== (value.lease !== undefined))
    throw malformed("the job lease needs lease with for, reason and key, and no other job has it");
  const lease = value.lease === undefined ? undefined : parseLease(value.lease);
  const [parameters, inputs] = [parseParameters(value.parameters), parseInputs(value.inputs)];
  if (lease && (parameters.size > 0 || inputs.length > 0))
    throw malformed("a lease has no parameters and no inputs");
  return {
    job,
    ...(node !== undefined && { node }),
    ...{ parameters, inputs },
    ...(lease && { lease }),
    ...(priority !== undefined && { priority }),
    ...(timeout !== undefined && timeout > 0 && { clientTimeoutMs: timeout * 1000 }),
  };
}

function isFunctionPart(value: unknown): value is string {
  return isBuildName(value) && !/[:\s\p{Z}\p{C}]/u.test(value);
}

function isPriority(value: unknown): value is Priority {
  return value === "high" || value === "normal" || value === "low";
}

const maxReasonLength = 200;

function parseLease(value: unknown): LeaseWish {
  if (!isObject(value)) throw malformed("lease is no JSON object");
  refuseOthers(value, ["for", "reason", "key"], "the lease");
  const { for: seconds, reason = "", key } = value;
  if (seconds !== undefined && !(isCount(seconds) && seconds > 0 && seconds < 10_000_000))
    throw malformed("lease.for is no number of seconds");
  if (!isLine(reason, maxReasonLength))
    throw malformed(`lease.reason is no line of at most ${maxReasonLength} characters`);
  return { ...(seconds !== undefined && { forMs: seconds * 1000 }), reason, publicKey: publicKey(key) };
}

function publicKey(value: unknown): string {
  try {
    parsePublicKey(String(value));
    return String(value);
  } catch {
    throw malformed("lease.key is no public key");
  }
}

function parseParameters(value: unknown = {}): Map<string, string> {
  if (!isObject(value)) throw malformed("parameters is no JSON object");
  const all = Object.entries(value);
  if (all.length > maxParameters) throw malformed(`there are more than ${maxParameters} parameters`);
  const parameters = new Map<string, string>();
  for (const [name, text] of all) {
    if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name))
      throw malformed(`${shown(name, 40)} is no name of a parameter`);
    if (
      typeof text !== "string" ||
      text.length > maxValueLength ||
      !text.isWellFormed() ||
      text.includes("\0")
    )
      throw malformed(`${name} is no text of at most ${maxValueLength} characters`);
    parameters.set(name, text);
  }
  return parameters;
}

function parseInputs(value: unknown = []): (AnnouncedInput & { readonly size: number })[] {
  if (!Array.isArray(value) || value.length > maxInputs)
    throw malformed(`inputs is no list of at most ${maxInputs}`);
  const inputs = value.map((entry) => {
    if (!isObject(entry)) throw malformed("inputs has an entry that is no object");
    refuseOthers(entry, ["name", "size", "sha256"], "an input");
    const { name, size, sha256 } = entry;
    if (!isInputName(name)) throw malformed("an input has no name of small letters, digits and _");
    if (!isCount(size)) throw malformed(`the size of the input ${name} is no whole number`);
    if (!isDigest(sha256))
      throw malformed(`the sha256 of the input ${name} is no digest in lower-case hexadecimal`);
    return { name, size, sha256 };
  });
  if (new Set(inputs.map(({ name }) => name)).size < inputs.length)
    throw malformed("an input is given twice");
  return inputs;
}

function refuseOthers(object: JsonObject, known: readonly string[], what: string): void {
  const other = Object.keys(object).find((key) => !known.includes(key));
  if (other !== undefined) throw malformed(`${what} has the unknown key ${shown(other, 40)}`);
}

const malformed = (message: string) => new Refusal("malformed", message);

const maxKeyLength = 255;

/** @throws Refusal malformed */
export function parseIdempotencyKey(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (isLine(text, maxKeyLength) && text !== "") return text;
  throw malformed(`Idempotency-Key is no text of 1 to ${maxKeyLength} characters`);
}
