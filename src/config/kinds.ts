/** The kinds of text in the configuration: what each one is called, and what is wrong with a text that isn't one. */
import { parseAddress, serverForm } from "#/lib/address.ts";
import { shown } from "#/lib/text.ts";
import { formatDuration, parseDuration, parseShare, parseSize } from "#/lib/units.ts";
import { deviceKinds } from "./sections/kinds-device.ts";
import { refuseParameter } from "./sections/parameters.ts";

export interface Kind {
  /** Goes after "expected". */
  readonly expected: string;
  /** @returns what is wrong with the text: a whole message, or true for `expected …, found …`; undefined: nothing */
  readonly refuse: (text: string) => string | true | undefined;
}

/** Node's timers take 2^31-1 ms (24.8 days); a longer delay would fire at once. */
const longest = 24 * 86_400_000;

/** Text on one line that a function name, a tab-separated list and a terminal can carry. */
function refuseName(name: string): string | undefined {
  const because = (reason: string): string => `${shown(name)} can't be a name: ${reason}`;
  if (name === "") return because("it is empty");
  // A colon separates the parts of a function name, white space ends one (gearmand's text protocol).
  if (name.includes(":")) return because("it has a colon");
  if (/[\s\p{Z}]/u.test(name)) return because("it has white space");
  if (/[\p{Cc}\p{Cf}\p{Cs}]/u.test(name)) return because("it has control characters");
  // File systems count bytes.
  if ([...name].length > 100 || Buffer.byteLength(name) > 255)
    return because("it is longer than 100 characters");
  return undefined;
}

/** The name of a job is also its folder's, and a device's is part of the names of files and pages. */
function refuseFolderName(whose: string): (name: string) => string | undefined {
  return (name) => {
    const because = (reason: string): string => `${shown(name)} can't be ${whose} name: ${reason}`;
    if (name.includes("/")) return because("it has a slash, and the name is also a folder's");
    if (/^[.-]/.test(name)) return because(`it begins with "${name[0]}"`);
    return refuseName(name);
  };
}

function refuseGlob(glob: string): string | true | undefined {
  if (glob === "" || glob.includes("\0")) return true;
  // Braces are looked into: {..,x}/y and {/etc,x} would lead out as well.
  if (/^(?:\{(?:[^}]*,)?)*\//.test(glob)) return `${shown(glob)} must be relative to the workspace`;
  if (/(?:^|[/{,(|])\.\.(?:$|[/},)|])/.test(glob))
    return `${shown(glob)} must not lead out of the workspace with ".."`;
  return undefined;
}

function refuseUrl(text: string): string | true | undefined {
  if (!URL.canParse(text)) return true;
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") return true;
  if (url.username || url.password) return "must not hold a user name or a password: everyone sees it";
  if (/[?#\s]/.test(text)) return "must end with the path: no query, no fragment, no white space";
  return undefined;
}

function duration(least: number): Kind {
  return {
    expected: "a duration such as 30m, 10s or 1h30m",
    refuse: (text) => {
      const found = parseDuration(text);
      if (found === undefined) return true;
      if (found < least) return "must be longer than nothing";
      return found > longest ? `must not be longer than ${formatDuration(longest)}` : undefined;
    },
  };
}

function size(least: number): Kind {
  return {
    expected: "a size such as 2GiB, 256MiB or 4GB",
    refuse: (text) => {
      const found = parseSize(text);
      if (found === undefined) return true;
      return found < least ? "must be more than nothing" : undefined;
    },
  };
}

function address(expected: string, leastPort: number, defaultPort?: number): Kind {
  return {
    expected,
    refuse: (text) => {
      const found = parseAddress(text, defaultPort);
      return !found || found.port < leastPort ? true : undefined;
    },
  };
}

const noNul = (text: string): true | undefined =>
  text.trim() === "" || text.includes("\0") ? true : undefined;

/** By the name that the schema's `kind` keyword uses. */
export const kinds = {
  name: { expected: "a name", refuse: refuseName },
  "job-name": { expected: "a job's name", refuse: refuseFolderName("a job's") },
  "device-name": { expected: "a device's name", refuse: refuseFolderName("a device's") },
  duration: duration(1),
  "duration-or-none": duration(0),
  size: size(1),
  "size-or-none": size(0),
  share: {
    expected: "a share of one processor such as 50% or 200%",
    refuse: (text: string) => (parseShare(text) === undefined ? true : undefined),
  },
  server: address(serverForm, 1, 4730),
  listen: address("HOST:PORT, IPv6 in brackets", 0),
  url: { expected: "an http:// or https:// address", refuse: refuseUrl },
  file: { expected: "the path of a file", refuse: noNul },
  script: { expected: "a shell script", refuse: noNul },
  glob: { expected: "a pattern for files, such as build/*.bin", refuse: refuseGlob },
  parameter: {
    expected: "the name of an environment variable",
    refuse: (text: string) => {
      const reason = refuseParameter(text);
      return reason && `${shown(text)} ${reason}`;
    },
  },
  result: {
    expected: "a result such as NODE_FAILURE, in capitals, and not SUCCESS",
    refuse: (text: string) => (!/^[A-Z][A-Z0-9_]{0,99}$/.test(text) || text === "SUCCESS" ? true : undefined),
  },
  ...deviceKinds,
} as const satisfies Record<string, Kind>;

export type KindName = keyof typeof kinds;

/**
 * @param value text, or a plain number where the schema admits one
 * @returns the message for a value that is not of the kind; undefined: it is
 */
export function refuse(kind: KindName, value: string | number): string | undefined {
  const { expected, refuse: check }: Kind = kinds[kind];
  const wrong = check(String(value));
  return wrong === true ? `expected ${expected}, found ${shown(value)}` : wrong;
}
