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

/** Starts a command as a build's user, in a place of its own. */
export interface StartRequest {
  /** Repeated in every answer. */
  readonly id: number;
  /** The agent's process. */
  readonly agent: number;
  /** The agent's descriptor of the pipe that becomes stdout and stderr. */
  readonly output: number;
  readonly user: string;
  /** The folder of the control group to enter, below the agent's own. */
  readonly group: string;
  /** The working directory. */
  readonly folder: string;
  /** The folder with the build's home, tmp and var-tmp. */
  readonly scratch: string;
  readonly network: Network;
  /** The nodes below /dev that it sees besides null, tty and the like, such as "ttyUSB0"; all: what its unit and groups allow. */
  readonly devices: "all" | readonly string[];
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
}

/**
 *     started ──▶ inside ──▶ ended
 *        └──▶ failed
 */
export type Answer =
  | { readonly id: number; readonly state: "started"; readonly pid: number }
  | { readonly id: number; readonly state: "inside" }
  | { readonly id: number; readonly state: "failed"; readonly why: string }
  | {
      readonly id: number;
      readonly state: "ended";
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
    };

const maxNetworks = 64;
const maxArguments = 1000;
const maxDevices = 100;

/**
 * Checks the form of a request; what it names is checked where it is used.
 * @throws HelperError REFUSED
 */
export function parseStart(line: string): StartRequest {
  const { id, agent, output, user, group, folder, scratch, network, devices, argv, env, ...more } =
    asObject(line);
  const fine =
    Object.keys(more).length === 0 &&
    isNumber(id) &&
    isNumber(agent) &&
    isNumber(output) &&
    [user, group, folder, scratch].every(isText) &&
    isNetwork(network) &&
    (devices === "all" ||
      (Array.isArray(devices) && devices.length <= maxDevices && devices.every(isNode))) &&
    Array.isArray(argv) &&
    argv.length > 0 &&
    argv.length <= maxArguments &&
    argv.every(isText) &&
    isEnvironment(env);
  if (!fine) throw new HelperError("REFUSED", "the request has another form than this version's");
  const texts = { user, group, folder, scratch };
  return { id, agent, output, ...texts, network, devices, argv, env } as unknown as StartRequest;
}

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

const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isText = (value: unknown): value is string => typeof value === "string" && !value.includes("\0");

/** Words for a shell, and no way out of /dev. */
function isNode(value: unknown): boolean {
  return (
    typeof value === "string" &&
    /^\w[\w.:+@/-]*$/.test(value) &&
    value.split("/").every((part) => part !== "" && part !== "." && part !== "..")
  );
}

function isNetwork(value: unknown): value is Network {
  if (value === "full" || value === "none") return true;
  const only = (value as { only?: unknown } | null)?.only;
  if (!Array.isArray(only) || only.length > maxNetworks) return false;
  return only.every((text) => typeof text === "string" && parseSubnet(text) !== undefined);
}

function isEnvironment(value: unknown): value is Record<string, string> {
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
