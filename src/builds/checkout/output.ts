/** What git says: as printable lines without secrets, and what they mean. git has no exit codes for that; the texts are those of LC_ALL=C. */
import { printable } from "#/lib/text.ts";

const maxLineLength = 2000;

/**
 * Splits bytes into printable lines; the rest of a line above the limit is lost. Of a progress display, which overwrites its
 * line again and again, the last state remains.
 */
export async function* linesOf(stream: AsyncIterable<Buffer | string>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let open = "";
  try {
    for await (const chunk of stream) {
      open += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
      const lines = open.split("\n");
      open = lastState(lines.pop() ?? "");
      for (const line of lines) {
        const text = shown(lastState(line));
        if (text) yield text;
      }
    }
  } catch (error) {
    // We gave up on a pipe that a process holds open.
    if ((error as NodeJS.ErrnoException).code !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
  }
  const text = shown(open);
  if (text) yield text;
}

function lastState(line: string): string {
  return (line.split("\r").findLast((state) => state.trim() !== "") ?? "").slice(0, maxLineLength);
}

/** A server's words must not control a terminal. */
function shown(line: string): string {
  return printable(line.trimEnd().replaceAll("\t", "    "));
}

/** Masks the user and password of each URL in a line, and those of the source's own URL anywhere. */
export function mask(line: string, url: string): string {
  let masked = line.replace(/([a-z][a-z0-9+.-]*:\/\/)[^/@\s]*@/gi, "$1***@");
  const { username = "", password = "" } = URL.parse(url) ?? {};
  for (const secret of [password, password === "" ? username : ""]) {
    // Too short for a secret, and likely to be part of a word.
    if (secret.length < 4 || secret === "git") continue;
    masked = masked.replaceAll(secret, "***");
    masked = masked.replaceAll(decode(secret), "***");
  }
  return masked;
}

/** Undoes a URL's percent-encoding, if it is one. */
export function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The line of git's output that says what went wrong. */
export function gist(output: string): string {
  const lines = output.split("\n");
  // ssh says it better than git, which only reports that ssh failed.
  const reasons = [/^ssh: |Permission denied|^Host key verification failed/, /^(fatal|error): /];
  const found =
    reasons.map((reason) => lines.findIndex((line) => reason.test(line))).find((at) => at >= 0) ?? -1;
  const line = lines.at(found) || "no reason was given";
  // "unable to connect to HOST:" has its reason on the next line.
  const whole = line.endsWith(":") ? `${line} ${lines[found + 1] ?? ""}` : line;
  return whole.replace(/^(fatal|error): /, "").slice(0, 300);
}

function anyOf(...texts: string[]): RegExp {
  return new RegExp(texts.join("|"), "i");
}

/** The box is at fault. */
export const localTrouble =
  /No space left|Disk quota|Read-only file system|unable to (write|create)|Input\/output error/i;
/** A commit has a name that git refuses, or no file system of a box can have. */
export const notStorable = /File name too long|cannot create directory at .{1900}|invalid path '/i;
/** A repository on this box is damaged, or has a ref whose name is in the way of another one's, such as `a` of `a/b`. */
export const damaged = anyOf(
  "bad object|corrupt|loose object|did not send all necessary objects|missing (blob|tree|commit)",
  "unable to read|unresolved delta|packfile|Could not read [0-9a-f]{40}|not a git repository: '?\\.",
  "cannot lock ref '[^']*': '[^']*' exists; cannot create",
);
/** The server answers, and has no such repository for us. */
export const noRepository = anyOf(
  "does not appear to be a git repository|repository not exported|repository '[^']*' not found",
  "Permission denied|Authentication failed|could not read Username|does not exist",
);
/** The server doesn't answer, or not well. */
export const away = anyOf(
  "Could not resolve|Connection|timed out|unable to (access|connect|look up)|Could not read from remote",
  "hung up|early EOF|RPC failed|unreachable|The requested URL returned error: 5|Operation too slow",
);
export const noRef = /couldn't find remote ref|not our ref/i;
