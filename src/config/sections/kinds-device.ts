/** The kinds of text that devices and their jobs have. */

import { printable, shown } from "#/lib/text.ts";
import type { Kind } from "../kinds.ts";
import { patternProblem } from "../pattern.ts";
import { isDevicePath, parsePort } from "./port-address.ts";

/** A kind for texts that a pattern tells from others. */
function matching(expected: string, pattern: RegExp): Kind {
  return { expected, refuse: (text) => (pattern.test(text) ? undefined : true) };
}

function refusePattern(text: string): string | undefined {
  const problem = patternProblem(text);
  return problem && `${shown(text)} can't be a pattern: ${printable(problem)}`;
}

function refuseCommand(text: string): string | true | undefined {
  if (text.trim() === "" || text.includes("\0")) return true;
  return /[\r\n]/.test(text.trimEnd()) ? "must be one line: a script goes into a job's shell" : undefined;
}

function refuseWorkspaceFile(text: string): string | true | undefined {
  if (text === "" || /\p{Cc}/u.test(text) || /(?:^|\/)\.?$/.test(text)) return true;
  if (text.startsWith("/")) return `${shown(text)} must be relative to the workspace`;
  if (text.split("/").includes("..")) return `${shown(text)} must not lead out of the workspace with ".."`;
  return undefined;
}

const consoleServer = "tcp://HOST:PORT or rfc2217://HOST:PORT";

export const deviceKinds = {
  /** RFC 7617: a user's name in HTTP's basic authentication has no colon. */
  user: matching("a user's name, without a colon", /^[^\p{C}\p{Z}:]{1,100}$/u),
  port: {
    expected: `a path such as /dev/ttyUSB0, ${consoleServer}`,
    refuse: (text: string) => (parsePort(text) ? undefined : true),
  },
  "port-url": {
    expected: consoleServer,
    refuse: (text: string) => (parsePort(text)?.kind === "tty" || !parsePort(text) ? true : undefined),
  },
  "device-file": {
    expected: "the path of a device file or of a link to one, such as /dev/ttyUSB0",
    refuse: (text: string) => (isDevicePath(text) ? undefined : true),
  },
  "by-id": matching(
    "the name of a link in /dev/serial/by-id, without the folder",
    /^(?!\.)[^\p{C}/]{1,255}$/u,
  ),
  usb: matching("VENDOR:PRODUCT in hexadecimal, such as 0403:6001", /^[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}$/),
  "usb-serial": matching("the serial number of a USB adapter", /^[^\p{C}]{1,255}$/u),
  location: matching("the place of a USB adapter, such as 1-1.4", /^\d{1,3}-\d{1,3}(?:\.\d{1,3}){0,6}$/),
  pattern: { expected: "a pattern for the console's output", refuse: refusePattern },
  command: { expected: "a command", refuse: refuseCommand },
  text: { expected: "text", refuse: () => undefined },
  "some-text": matching("text that is not empty", /^.{1,1000}$/s),
  prompt: matching("the prompt's text, on one line and with something to see", /^(?=.*\S)[^\p{C}]{1,100}$/u),
  keys: matching("one to 32 keys to type", /^.{1,32}$/s),
  label: matching("a name on one line, not longer than 100 characters", /^(?=.*\S)[^\p{C}]{1,100}$/u),
  "workspace-file": { expected: "the path of a file in the workspace", refuse: refuseWorkspaceFile },
  /** A board without folders, such as a micro:bit, has names alone. */
  "board-file": matching("the path of a file on the board", /^[^\p{Cc}]{0,1000}[^\p{Cc}/]$/u),
  verdict: matching("zephyr, unity, tap, or patterns (pass, fail)", /^(?:zephyr|unity|tap)$/),
} as const satisfies Record<string, Kind>;
