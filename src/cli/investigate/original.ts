/** The build that is investigated, and the last one that passed before it: what of them can be repeated. */
import { isMasked } from "#/builds/parameters.ts";
import { isBoardsFault } from "#/devices/errors.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { type AnnouncedInput, parseInputs } from "#/exchange/inputs.ts";
import type { BuildSelector } from "#/exchange/key.ts";
import { leaseJob } from "#/exchange/lease.ts";
import { isLine, isObject, type JsonObject, parseObject } from "#/exchange/message.ts";
import { CommandError } from "../exit.ts";
import { type BuildResults, maxTextBytes } from "../transfer/results.ts";
import type { Outcome } from "./verdict.ts";

/** What a record says of a build that is to be repeated. */
export interface Original {
  readonly job: string;
  readonly number: number;
  readonly node: string;
  /** The class or name that its client asked for. */
  readonly target: string | undefined;
  readonly parameters: Readonly<Record<string, string>>;
  readonly inputs: readonly AnnouncedInput[];
  readonly outcome: Exclude<Outcome, "passed">;
}

/** What a client says of itself and of one build alone. LABGEAR_CALLER stays: what it has sent before counts for it. */
const ownParameters = /^(?:ZUUL_UUID|ZUUL_NODE|OFFLINE_NODE_WHEN_COMPLETE|LABGEAR_(?!CALLER$).*)$/;

/** @throws CommandError failure, with why it can't be investigated; ExchangeError, GearmanError */
export async function readOriginal(results: BuildResults): Promise<Original> {
  const record = parseObject(await results.text("record"), maxTextBytes);
  const { job, number, node, target, ending, ended } = record;
  if (!isLine(job, 255) || !isLine(node, 255) || typeof number !== "number")
    throw new CommandError("failure", "its record is not one of a build");
  if (job === leaseJob) throw new CommandError("failure", "it is a lease, which can't be repeated");
  if (ended === undefined || !isObject(ending)) throw new CommandError("failure", "it hasn't ended yet");
  const outcome = outcomeOf({ result: record.result, kind: ending.kind, cause: ending.cause });
  if (outcome === "passed") throw new CommandError("failure", "it passed: there is nothing to investigate");
  if (outcome === undefined)
    throw new CommandError("failure", `it says nothing about its node: ${ending.reason}`);
  return {
    ...{ job, number, node, outcome, inputs: inputsOf(record), parameters: parametersOf(record) },
    target: isLine(target, 255) ? target : undefined,
  };
}

/**
 * What an ending says; undefined: nothing, as it was stopped, lost, or refused for its inputs.
 * @param kind of a record's ending; a client learns the result and the cause alone
 */
export function outcomeOf({
  result,
  kind,
  cause,
}: {
  readonly result?: unknown;
  readonly kind?: unknown;
  readonly cause?: unknown;
}): Outcome | undefined {
  if (cause === "input" || kind === "lost" || result === "ABORTED") return undefined;
  if (result === "SUCCESS") return "passed";
  if (result === "FAILURE" || result === "TIMED_OUT") return "failed";
  return typeof cause === "string" && isBoardsFault(cause) ? "failed" : "infrastructure";
}

function parametersOf({ parameters, warnings }: JsonObject): Record<string, string> {
  const all = Object.entries(isObject(parameters) ? parameters : {});
  const kept = all
    .filter(([name]) => !ownParameters.test(name))
    .map(([name, value]) => [name, `${value}`] as const);
  const masked = kept.filter(([, value]) => isMasked(value)).map(([name]) => name);
  if (masked.length > 0)
    throw new CommandError("failure", `it can't be repeated: its record masks ${masked.join(", ")}`);
  if (Array.isArray(warnings) && warnings.some((text) => /parameters are cut or left out/.test(`${text}`)))
    throw new CommandError("failure", "it can't be repeated: its record doesn't have all of its parameters");
  return Object.fromEntries(kept);
}

function inputsOf({ inputs }: JsonObject): AnnouncedInput[] {
  return inputs === undefined ? [] : parseInputs(new Map([["LABGEAR_INPUTS", JSON.stringify(inputs)]]));
}

/** How far back earlier builds are looked for. */
const maxBack = 50;

/** @returns the build before it that failed as well; undefined: it is the first failure, as far as its box still knows */
export async function findEarlierFailure(
  { job, number }: Original,
  resultsOf: (build: BuildSelector) => BuildResults,
): Promise<string | undefined> {
  for (let back = number - 1; back >= Math.max(1, number - maxBack); back--) {
    const record = await readIfKept(resultsOf({ name: job, number: back }));
    if (!record || !isObject(record.ending)) continue;
    const { kind, cause } = record.ending;
    const outcome = outcomeOf({ result: record.result, kind, cause });
    if (outcome !== undefined) return outcome === "passed" ? undefined : `${job}#${back}`;
  }
  return undefined;
}

/** The inputs of the last build that passed. */
export interface Passed {
  readonly build: string;
  readonly inputs: readonly AnnouncedInput[];
}

/** @returns a line with why there are none to repeat */
export async function findPassed(
  { job, number, inputs }: Original,
  resultsOf: (build: BuildSelector) => BuildResults,
): Promise<Passed | string> {
  if (inputs.length === 0) return "it has no inputs to exchange for those of a build that passed";
  for (let back = number - 1; back >= Math.max(1, number - maxBack); back--) {
    const record = await readIfKept(resultsOf({ name: job, number: back }));
    if (record?.result !== "SUCCESS") continue;
    const passed = { build: `${job}#${back}`, inputs: inputsOf(record) };
    if (isSame(passed.inputs, inputs)) return `${passed.build} passed with the same inputs`;
    return passed;
  }
  return `no build of ${job} before it has passed, as far as its box still knows`;
}

/** @returns undefined when the box has removed it, or doesn't show it */
async function readIfKept(results: BuildResults): Promise<JsonObject | undefined> {
  try {
    return parseObject(await results.text("record"), maxTextBytes);
  } catch (error) {
    if (error instanceof ExchangeError) return undefined;
    throw error;
  }
}

function isSame(some: readonly AnnouncedInput[], others: readonly AnnouncedInput[]): boolean {
  const digests = (inputs: readonly AnnouncedInput[]) =>
    inputs
      .map(({ name, sha256 }) => `${name} ${sha256}`)
      .sort()
      .join();
  return digests(some) === digests(others);
}
