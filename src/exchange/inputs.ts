/**
 * The parameters by which a client announces inputs, and what the agent says it wants.
 *
 *     LABGEAR_KEY             the client's public key, see key.ts
 *     LABGEAR_INPUTS          [{"name": …, "size": N, "sha256": …}, {"name": …, "url": …, "sha256": …, "size": N}, …]
 *     LABGEAR_INPUT_NAME_URL, LABGEAR_INPUT_NAME_SHA256      the same for a client that can't send, such as Zuul
 *     LABGEAR_CLIENT_TIMEOUT  seconds, as a whole number: without a sign of life for so long, the build is ABORTED
 *
 * A name is [a-z][a-z0-9_]*, at most 64 characters; the job sees the file as LABGEAR_INPUT_ and the name in capitals. The size of
 * what comes from a URL may be absent.
 */
import { ExchangeError } from "./errors.ts";
import {
  isCount,
  isDigest,
  isInputName,
  isLine,
  isObject,
  type JsonObject,
  refuseOtherKeys,
} from "./message.ts";

/** An input as a client announces it. */
export type AnnouncedInput =
  | { readonly name: string; readonly sha256: string; readonly size: number; readonly url?: undefined }
  | { readonly name: string; readonly sha256: string; readonly size?: number; readonly url: string };

const maxInputs = 64;
const maxInputsLength = 256 * 1024;
const maxUrlLength = 2048;

/** @returns the value of LABGEAR_INPUTS */
export function formatInputs(inputs: readonly AnnouncedInput[]): string {
  return JSON.stringify(inputs);
}

/**
 * All inputs that a build's parameters announce, in whichever way.
 * @throws ExchangeError malformed
 */
export function parseInputs(parameters: ReadonlyMap<string, string>): AnnouncedInput[] {
  const inputs = [...parseList(parameters.get("LABGEAR_INPUTS")), ...parsePairs(parameters)];
  if (inputs.length > maxInputs) throw wrong(`there are more than ${maxInputs} inputs`);
  const names = inputs.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw wrong(`the input ${twice} is announced twice`);
  return inputs;
}

function parseList(text: string | undefined): AnnouncedInput[] {
  if (text === undefined || text === "") return [];
  if (text.length > maxInputsLength)
    throw wrong(`LABGEAR_INPUTS has more than ${maxInputsLength} characters`);
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    throw wrong("LABGEAR_INPUTS is not JSON");
  }
  if (!Array.isArray(list)) throw wrong("LABGEAR_INPUTS is not a JSON list");
  return list.map((entry) => {
    if (!isObject(entry)) throw wrong("LABGEAR_INPUTS has an entry that is no object");
    refuseOtherKeys(entry, ["name", "size", "sha256", "url"]);
    return announced(entry);
  });
}

/** From LABGEAR_INPUT_APP_URL and LABGEAR_INPUT_APP_SHA256, the input `app`. */
function parsePairs(parameters: ReadonlyMap<string, string>): AnnouncedInput[] {
  const pattern = /^LABGEAR_INPUT_([A-Z][A-Z0-9_]*)_(URL|SHA256)$/;
  const names = new Set<string>();
  for (const key of parameters.keys()) {
    const name = pattern.exec(key)?.[1];
    if (name !== undefined) names.add(name);
  }
  return [...names].map((name) => {
    const url = parameters.get(`LABGEAR_INPUT_${name}_URL`);
    const sha256 = parameters.get(`LABGEAR_INPUT_${name}_SHA256`);
    if (url === undefined || sha256 === undefined)
      throw wrong(`LABGEAR_INPUT_${name.slice(0, 64)}_URL and …_SHA256 go together, and one is missing`);
    return announced({ name: name.toLowerCase(), url, sha256 });
  });
}

function announced({ name, size, sha256, url }: JsonObject): AnnouncedInput {
  if (!isInputName(name))
    throw wrong(
      `an input's name is [a-z][a-z0-9_]*, at most 64 characters, and not ${JSON.stringify(name)?.slice(0, 80)}`,
    );
  if (!isDigest(sha256)) throw wrong(`the input ${name} needs "sha256": 64 digits in lower-case hexadecimal`);
  if (size !== undefined && !isCount(size)) throw wrong(`the size of the input ${name} is no whole number`);
  if (url !== undefined) {
    if (!isLine(url, maxUrlLength))
      throw wrong(`the URL of the input ${name} is not one of at most ${maxUrlLength} characters`);
    return { name, sha256, url, ...(size !== undefined && { size }) };
  }
  if (size === undefined) throw wrong(`the input ${name} needs "size"`);
  return { name, sha256, size };
}

function wrong(message: string): ExchangeError {
  return new ExchangeError("malformed", message);
}

/** The variable by which a job finds an input. */
export function inputVariable(name: string): string {
  return `LABGEAR_INPUT_${name.toUpperCase()}`;
}

const minClientTimeoutS = 5;
const maxClientTimeoutS = 86_400;

/** How many milliseconds a build goes on without a sign of life from its client; undefined: for ever. */
export function parseClientTimeout(text: string | undefined): number | undefined {
  if (text === undefined || text === "" || text === "0") return undefined;
  const seconds = /^[0-9]{1,6}$/.test(text) ? Number(text) : Number.NaN;
  if (isClientTimeout(seconds)) return seconds * 1000;
  throw wrong(
    `LABGEAR_CLIENT_TIMEOUT is a whole number of seconds from ${minClientTimeoutS} to ${maxClientTimeoutS}`,
  );
}

export function isClientTimeout(seconds: number): boolean {
  return Number.isInteger(seconds) && seconds >= minClientTimeoutS && seconds <= maxClientTimeoutS;
}

/** An input that lacks, and where it goes on. */
export interface WantedInput {
  readonly name: string;
  readonly offset: number;
}

/** What a build's first data says while inputs lack. */
export interface Wants {
  readonly wants: readonly WantedInput[];
  /** The agent's clock, in Unix milliseconds. */
  readonly time: number;
}

/** How often the first data is repeated while inputs lack. */
export const wantsIntervalMs = 5000;

/**
 * @param data the object of a WORK_DATA packet
 * @returns undefined: it says nothing of inputs
 * @throws ExchangeError malformed
 */
export function parseWants(data: JsonObject): Wants | undefined {
  const { wants, time } = data;
  if (wants === undefined) return undefined;
  if (!Array.isArray(wants) || wants.length > maxInputs || !isCount(time))
    throw wrong('the data has a bad "wants"');
  return {
    time,
    wants: wants.map((wanted) => {
      const { name, offset } = (wanted ?? {}) as Record<string, unknown>;
      if (!isInputName(name) || !isCount(offset)) throw wrong('the data has a bad "wants"');
      return { name, offset };
    }),
  };
}
