/**
 * The kinds of text in the configuration. A schema names one with the keyword `kind`; kinds that a single section uses are defined there.
 */

import { RE2JS, RE2JSException } from "re2js";
import { type Address, gearmanPort, parseAddress, serverForm } from "#/lib/address.ts";
import { jobFolder } from "#/lib/job-folder.ts";
import { printable, shown } from "#/lib/text.ts";
import { formatDuration, parseDuration, parseSize } from "#/lib/units.ts";

export interface Kind {
  /** Completes "expected …". */
  readonly expected: string;
  /** @returns what is wrong with the text: a whole message, or true for `expected …, found …`; undefined: nothing */
  readonly refuse: (text: string) => string | true | undefined;
}

/**
 * @param value text, or a plain number where the schema allows one
 * @returns the message for a value that is not of the kind; undefined: it is
 */
export function refuse(kind: Kind, value: string | number): string | undefined {
  const wrong = kind.refuse(String(value));
  return wrong === true ? `expected ${kind.expected}, found ${shown(value)}` : wrong;
}

/** A kind of text that a regular expression recognises. */
export function matching(expected: string, pattern: RegExp): Kind {
  return { expected, refuse: (text) => (pattern.test(text) ? undefined : true) };
}

/** HOST:PORT; the port may be left out where there is a default. */
export function addressKind(expected: string, minPort: number, defaultPort?: number): Kind {
  return {
    expected,
    refuse: (text) => {
      const found = parseAddress(text, defaultPort);
      return !found || found.port < minPort ? true : undefined;
    },
  };
}

/** Node's timers take at most 2^31-1 ms (24.8 days); a longer delay would fire at once. */
const maxDurationMs = 24 * 86_400_000;

function duration(minMs: number): Kind {
  return {
    expected: "a duration such as 30m, 10s or 1h30m",
    refuse: (text) => {
      const found = parseDuration(text);
      if (found === undefined) return true;
      if (found < minMs) return "must be longer than 0s";
      return found > maxDurationMs ? `must be ${formatDuration(maxDurationMs)} at most` : undefined;
    },
  };
}

function size(minBytes: number): Kind {
  return {
    expected: "a size such as 2GiB, 256MiB or 4GB",
    refuse: (text) => {
      const found = parseSize(text);
      if (found === undefined) return true;
      return found < minBytes ? "must be larger than 0" : undefined;
    },
  };
}

/** A name has to fit into a function name, a tab-separated list and a line on a terminal. */
function refuseName(name: string, what = "a name"): string | undefined {
  const because = (reason: string): string => `${shown(name)} can't be ${what}: ${reason}`;
  if (name === "") return because("it is empty");
  // A colon separates the parts of a function name; white space ends one (gearmand's text protocol).
  if (name.includes(":")) return because("it contains a colon");
  if (/[\s\p{Z}]/u.test(name)) return because("it contains white space");
  if (/[\p{Cc}\p{Cf}\p{Cs}]/u.test(name)) return because("it contains control characters");
  // File systems count bytes.
  if ([...name].length > 100 || Buffer.byteLength(name) > 255)
    return because("it is longer than 100 characters");
  return undefined;
}

/** A device's name is part of the names of files and pages. */
function refuseDeviceName(name: string): string | undefined {
  const what = "the name of a device";
  return name.includes("/")
    ? `${shown(name)} can't be ${what}: it contains a slash, and a folder gets the same name`
    : refuseFolderName(name, what);
}

/** They are the first part of functions of the agent, or become a job of its own. */
const reservedJobs = new Set(["lease", "send", "fetch", "info", "type", "stop", "set_description"]);

/** With slashes it is the name of a job in a folder of Jenkins. */
function refuseJobName(name: string): string | undefined {
  const what = "the name of a job";
  if (reservedJobs.has(name)) return `${shown(name)} is reserved: labgear itself uses it`;
  const wrong = refuseFolderName(name, what);
  if (wrong !== undefined) return wrong;
  // Browsers and proxies take such parts out of an address.
  if (/(^|\/)\.{0,2}(\/|$)/.test(name))
    return `${shown(name)} can't be ${what}: a part between slashes is empty, or dots`;
  if (Buffer.byteLength(jobFolder(name)) > 255)
    return `${shown(name)} can't be ${what}: it is longer than 255 bytes, a slash counted as 3`;
  return undefined;
}

function refuseFolderName(name: string, what: string): string | undefined {
  if (/^[.-]/.test(name)) return `${shown(name)} can't be ${what}: it begins with "${name[0]}"`;
  return refuseName(name, what);
}

const refuseBlank = (text: string): true | undefined =>
  text.trim() === "" || text.includes("\0") ? true : undefined;

function refuseCommand(text: string): string | true | undefined {
  if (refuseBlank(text)) return true;
  return /[\r\n]/.test(text.trimEnd()) ? "must be a single line: a script goes into a shell job" : undefined;
}

/** The kinds that several sections use. */
export const kinds = {
  name: { expected: "a name", refuse: (text) => refuseName(text) },
  jobName: { expected: "the name of a job", refuse: refuseJobName },
  deviceName: { expected: "the name of a device", refuse: refuseDeviceName },
  duration: duration(1),
  durationOrZero: duration(0),
  size: size(1),
  sizeOrZero: size(0),
  server: addressKind(serverForm, 1, gearmanPort),
  file: { expected: "the path of a file", refuse: refuseBlank },
  script: { expected: "a shell script", refuse: refuseBlank },
  command: { expected: "a command", refuse: refuseCommand },
  // RFC 7617: a user name in HTTP's basic authentication has no colon.
  user: matching("a user name without a colon", /^[^\p{C}\p{Z}:]{1,100}$/u),
} as const satisfies Record<string, Kind>;

// The values of texts that the schema has accepted.

/** @returns a duration in milliseconds */
export function milliseconds(text: string): number {
  return checked(parseDuration(text), text);
}

/** @returns a size in bytes */
export function bytes(text: string | number): number {
  return checked(parseSize(String(text)), text);
}

/** @returns the parts of HOST:PORT, or of HOST with the job servers' default port */
export function address(text: string): Address {
  return checked(parseAddress(text, gearmanPort), text);
}

/**
 * @param value what a parser returned for the text
 * @throws TypeError when it is undefined: the schema let a text through that it should have refused
 */
export function checked<T>(value: T | undefined, text: unknown): T {
  if (value === undefined) throw new TypeError(`the schema let ${String(text)} through`);
  return value;
}

/** In characters of the pattern's source. */
const maxPatternLength = 2000;
/** In RE2's instructions: nested counted repetitions cost memory and time for every repetition. */
const maxPatternProgram = 5000;

/**
 * What RE2 accepts but can never match: escape sequences and the carriage returns before a line feed are removed from the output
 * before it is matched, and the output has no beginning and no end.
 */
const unmatchable: readonly (readonly [RegExp, string])[] = [
  [
    /\\(?:x1[bB]|x\{0*1[bB]\}|033)/,
    "escape sequences are removed from the output before it is matched: leave them out",
  ],
  [/\\r\\n/, "the carriage return at the end of a line is removed before it is matched: leave \\r out"],
  [/\\[AzZ]/, "output has no beginning and no end: use ^ and $ for those of a line"],
];

/**
 * What is wrong with a pattern for a board's output.
 * @returns one line that says what is wrong and what to do; undefined: nothing is wrong
 * @internal
 */
export function patternProblem(source: string): string | undefined {
  if (source === "") return "it is empty and matches everything: say what to wait for";
  if (source.length > maxPatternLength)
    return `it has ${source.length} characters, and the limit is ${maxPatternLength}`;
  for (const [form, problem] of unmatchable) if (form.test(source.replaceAll("\\\\", "  "))) return problem;
  try {
    const compiled = RE2JS.compile(source, RE2JS.MULTILINE);
    if (compiled.programSize() > maxPatternProgram) return "it is too large: use smaller counts in {…}";
    if (compiled.test("")) return "it matches without any output: say what to wait for";
    return undefined;
  } catch (error) {
    if (error instanceof RE2JSException) return `${syntaxProblem(source)}${error.message}`;
    throw error;
  }
}

/** RE2's own message doesn't name these. */
function syntaxProblem(source: string): string {
  if (/\(\?<?[=!]/.test(source)) return "lookahead and lookbehind are not supported: ";
  if (/\\[1-9]/.test(source)) return "backreferences are not supported: ";
  return "";
}

export const pattern: Kind = {
  expected: "a pattern for the console's output",
  refuse: (text) => {
    const problem = patternProblem(text);
    return problem && `${shown(text)} can't be used as a pattern: ${printable(problem)}`;
  },
};
