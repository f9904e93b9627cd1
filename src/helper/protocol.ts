/** What the agent asks of the root helper, and what it answers: a JSON object a line, checked before anything is done. */
import { isVariableName } from "#/lib/environment.ts";
import { CodedError } from "#/lib/errors.ts";
import { parseSubnet } from "#/lib/subnet.ts";

export const helperSocket = "/run/labgear-helper/socket";
/** Of the helper whose builds may trace, and be root in a namespace. */
export const debugSocket = "/run/labgear-helper/debug";

/** Of one message; an environment has at most 2 MiB (execve(2)). */
const maxMessageBytes = 8 * 1024 * 1024;

export type HelperErrorCode =
  /** The request isn't one that the helper serves. */
  | "REFUSED"
  /** There is no helper, or it has ended. */
  | "AWAY";

export class HelperError extends CodedError<HelperErrorCode> {
  override readonly name = "HelperError";
}

/** What a build reaches: anything, nothing but itself, or these networks (CIDR) alone. */
export type Network = "full" | "none" | { readonly only: readonly string[] };

/** Where a build is by itself. */
export interface PlaceRequest {
  /** The folder with the build's home, tmp and var-tmp. */
  readonly scratch: string;
  readonly network: Network;
  /** The nodes below /dev that it sees besides null, tty and the like, such as "ttyUSB0"; all: what its unit and groups allow. */
  readonly devices: "all" | readonly string[];
}

/** Starts a command as a build's user, or as the one that fetches. */
export interface StartRequest {
  readonly verb: "start";
  /** Repeated in every answer. */
  readonly id: number;
  /** The agent's process. */
  readonly agent: number;
  /** The agent's descriptors of the pipes that become standard input, output and error; null: no input. */
  readonly pipes: readonly [input: number | null, output: number, errors: number];
  readonly user: string;
  /** The folder of the control group to enter, below the agent's own. */
  readonly group: string;
  /** The working directory. */
  readonly folder: string;
  /** Of a build's script; null: it sees what the agent sees, as git does. */
  readonly place: PlaceRequest | null;
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  /** Files and folders (not their content) that become the user's before; of `workspaces/EXECUTOR`, the group does. */
  readonly belongings: readonly string[];
}

/** Makes what start requests gave to users of builds the agent's again; what is gone is skipped. */
export interface TakeRequest {
  readonly verb: "take";
  readonly id: number;
  readonly agent: number;
  readonly belongings: readonly string[];
}

/** Makes all of a folder that belongs to the agent or to users of builds one user's. */
export interface OwnRequest {
  readonly verb: "own";
  readonly id: number;
  readonly agent: number;
  readonly path: string;
  /** null: the agent. */
  readonly user: string | null;
}

/** Counts what is on the disk below a folder of the agent's. */
export interface MeasureRequest {
  readonly verb: "measure";
  readonly id: number;
  readonly agent: number;
  readonly path: string;
}

/** Signals all processes in a build's control group. */
export interface SignalRequest {
  readonly verb: "signal";
  readonly id: number;
  readonly agent: number;
  readonly group: string;
  readonly signal: "SIGTERM" | "SIGKILL";
}

/** Ends what builds left outside of the agent's unit, and finds what would start it again. */
export interface OutsidersRequest {
  readonly verb: "outsiders";
  readonly id: number;
  readonly agent: number;
}

export type HelperRequest =
  | StartRequest
  | TakeRequest
  | OwnRequest
  | MeasureRequest
  | SignalRequest
  | OutsidersRequest;

export interface Usage {
  bytes: number;
  inodes: number;
}

export interface Outsiders {
  /** The processes that were killed. */
  readonly killed: readonly { readonly pid: number; readonly user: string; readonly command: string }[];
  /** One each: a crontab, an at job, lingering, user units. */
  readonly starters: readonly string[];
}

/**
 *     started ──▶ inside ──▶ ended          for a start
 *        └──▶ failed
 *
 *     done, or failed                       for all else
 */
export type Answer =
  | { readonly id: number; readonly state: "started"; readonly pid: number }
  | { readonly id: number; readonly state: "inside" }
  | { readonly id: number; readonly state: "failed"; readonly why: string }
  | { readonly id: number; readonly state: "done"; readonly outsiders?: Outsiders; readonly usage?: Usage }
  | {
      readonly id: number;
      readonly state: "ended";
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
    };

const maxNetworks = 64;
const maxArguments = 1000;
const maxDevices = 100;
const maxBelongings = 1000;

/**
 * Checks the form of a request; what it names is checked where it is used.
 * @throws HelperError REFUSED
 */
export function parseRequest(line: string): HelperRequest {
  const request = asObject(line);
  const { verb, id, agent, ...rest } = request;
  const fine =
    isNumber(id) &&
    isNumber(agent) &&
    ((verb === "start" && isStart(rest)) ||
      (verb === "take" && isForm(rest, { belongings: isPaths })) ||
      (verb === "measure" && isForm(rest, { path: isText })) ||
      (verb === "own" && isForm(rest, { path: isText, user: (user) => user === null || isText(user) })) ||
      (verb === "signal" && isSignal(rest)) ||
      (verb === "outsiders" && isForm(rest, {})));
  if (!fine) throw new HelperError("REFUSED", "the request has another form than this version's");
  return request as unknown as HelperRequest;
}

type Check = (value: unknown) => boolean;

/** Whether an object has these keys and no others. */
function isForm(value: unknown, form: Readonly<Record<string, Check>>): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const keys = Object.keys(form);
  const isWhole = Object.keys(value).length === keys.length && keys.every((key) => Object.hasOwn(value, key));
  return isWhole && keys.every((key) => form[key]?.((value as Record<string, unknown>)[key]));
}

const isStart = (value: unknown) =>
  isForm(value, {
    pipes: isPipes,
    ...{ user: isText, group: isText, folder: isText },
    place: (place) =>
      place === null || isForm(place, { scratch: isText, network: isNetwork, devices: isDevices }),
    argv: (argv) => isList(argv, maxArguments, isText) && (argv as unknown[]).length > 0,
    env: isEnvironment,
    belongings: isPaths,
  });

const isSignal = (value: unknown) =>
  isForm(value, { group: isText, signal: (signal) => signal === "SIGTERM" || signal === "SIGKILL" });

function asObject(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new HelperError("REFUSED", "the request is no JSON object");
}

const isNumber: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isText: Check = (value) => typeof value === "string" && !value.includes("\0");
const isList = (value: unknown, max: number, check: Check) =>
  Array.isArray(value) && value.length <= max && value.every(check);
const isPaths: Check = (value) => isList(value, maxBelongings, isText);

function isPipes(value: unknown): boolean {
  if (!Array.isArray(value) || value.length !== 3) return false;
  const [input, ...outputs] = value;
  return (input === null || isNumber(input)) && outputs.every(isNumber);
}

const isDevices: Check = (value) => value === "all" || isList(value, maxDevices, isNode);

/** Words for a shell, and no way out of /dev. */
const isNode: Check = (value) =>
  typeof value === "string" &&
  /^\w[\w.:+@/-]*$/.test(value) &&
  value.split("/").every((part) => part !== "" && part !== "." && part !== "..");

const isNetwork: Check = (value) =>
  value === "full" ||
  value === "none" ||
  isForm(value, { only: (only) => isList(only, maxNetworks, isSubnet) });

const isSubnet: Check = (value) => typeof value === "string" && parseSubnet(value) !== undefined;

function isEnvironment(value: unknown): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.entries(value).every(([name, text]) => isVariableName(name) && isText(text));
}

/** Cuts a stream of bytes into lines. @throws HelperError REFUSED when one is too long */
export class Lines {
  #parts: string[] = [];
  #length = 0;

  push(chunk: string): string[] {
    const [first = "", ...rest] = chunk.split("\n");
    this.#keep(first);
    if (rest.length === 0) return [];
    const lines = [this.#parts.join("")];
    lines.push(...rest.slice(0, -1));
    this.#parts = [];
    this.#length = 0;
    this.#keep(rest.at(-1) ?? "");
    return lines;
  }

  #keep(part: string): void {
    this.#length += part.length;
    if (this.#length > maxMessageBytes) throw new HelperError("REFUSED", "the message is too long");
    this.#parts.push(part);
  }
}
