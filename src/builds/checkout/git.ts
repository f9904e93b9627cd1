/**
 * Runs git for a checkout: without questions, without the user's configuration, without secrets in the output, and without
 * leaving a process behind.
 */
import { dirname } from "node:path";
import { execa } from "execa";
import { signalGroup } from "#/lib/process-group.ts";
import { printable } from "#/lib/text.ts";
import { baseEnvironment } from "../environment.ts";
import { BuildError } from "../errors.ts";
import type { Source } from "./source.ts";

export interface GitOptions {
  readonly workspace: string;
  /** Takes a line for the build's console; git's output waits for the promise it returns. */
  readonly log: (line: string) => unknown;
  readonly signal?: AbortSignal;
  /** The environment below git's own settings. */
  readonly env?: Readonly<Record<string, string>>;
  /** Wraps the command line to run git inside the build's process tree. */
  readonly launch?: (argv: readonly string[]) => readonly string[];
}

export interface GitResult {
  readonly ok: boolean;
  /** The last lines that git printed, with secrets masked. */
  readonly output: string;
}

/**
 * These override the system's configuration, which only root can write. The user's isn't read: any build could have written
 * it.
 */
const settings = [
  "core.hooksPath=/dev/null",
  "core.fsmonitor=false",
  "core.attributesFile=/dev/null",
  "protocol.ext.allow=never",
  "safe.directory=*",
  "submodule.recurse=false",
  "advice.detachedHead=false",
  // In the foreground and at once: nobody else uses the repository now.
  "gc.autoDetach=false",
  "maintenance.autoDetach=false",
  "gc.pruneExpire=now",
  // Gives up on a server that stalls for two minutes; ssh has its own timers below.
  "http.lowSpeedLimit=1",
  "http.lowSpeedTime=120",
].flatMap((setting) => ["-c", setting]);

const ssh = "ssh -o BatchMode=yes -o ControlMaster=no -o ConnectTimeout=30 -o ServerAliveInterval=30";
const maxLineLength = 2000;
const maxLogged = 1000;
const maxKept = 40;
/**
 * Between SIGTERM and SIGKILL to git's process group; and between git's end and our giving up on a pipe that another process
 * keeps open.
 */
const killTimeoutMs = 2000;

/**
 * Runs one git command to its end. Its standard output and error go to the log, 1,000 lines at most.
 * @param source what is fetched: it decides which transports are allowed, for submodules too, and what is masked
 * @throws BuildError CHECKOUT when git can't be started; STOPPED when the signal aborted, with all of git's processes gone
 */
export async function git(args: readonly string[], source: Source, options: GitOptions): Promise<GitResult> {
  const { workspace, signal, launch = (argv) => argv } = options;
  if (signal?.aborted) throw stopped(signal);
  const [file = "git", ...rest] = launch(["git", ...settings, ...args]);
  const child = execa(file, rest, {
    cwd: workspace,
    env: environment(source, options),
    extendEnv: false,
    stdin: "ignore",
    all: true,
    buffer: false,
    reject: false,
    // In a process group of its own, to end the helpers of a transport with it.
    detached: true,
  });
  // 0: it could not be started.
  const group = child.pid ?? 0;
  const timers: NodeJS.Timeout[] = [];
  const end = () => {
    signalGroup(group, "SIGTERM");
    timers.push(setTimeout(() => signalGroup(group, "SIGKILL"), killTimeoutMs));
  };
  signal?.addEventListener("abort", end, { once: true });
  // A process that git left behind may hold the pipe open.
  child.nodeChildProcess.once("exit", () =>
    timers.push(setTimeout(() => child.all.destroy(), killTimeoutMs)),
  );
  const kept: string[] = [];
  let over = false;
  try {
    let lines = 0;
    for await (const line of linesOf(child.all)) {
      const clean = mask(line, source.url);
      if (kept.push(clean) > maxKept) kept.shift();
      if (++lines < maxLogged) await options.log(`git: ${clean}`);
      else if (lines === maxLogged) await options.log("git: … (more is not shown)");
    }
    const result = await child;
    over = true;
    if (signal?.aborted) throw stopped(signal);
    if (result.exitCode === undefined && !result.signal) throw cantStart(result.cause);
    return { ok: result.exitCode === 0, output: kept.join("\n") };
  } finally {
    signal?.removeEventListener("abort", end);
    // Also when the console can't be written.
    if (!over || signal?.aborted) signalGroup(group, "SIGKILL");
    await child;
    for (const timer of timers) clearTimeout(timer);
  }
}

/**
 * Masks the user and password of each URL in a line, and those of the source's own URL anywhere.
 */
export function mask(line: string, url: string): string {
  let masked = line.replace(/([a-z][a-z0-9+.-]*:\/\/)[^/@\s]*@/gi, "$1***@");
  const { username, password } = new URL(url);
  for (const secret of [password, password === "" ? username : ""]) {
    // Too short for a secret, and likely to be part of a word.
    if (secret.length < 4 || secret === "git") continue;
    masked = masked.replaceAll(secret, "***");
    masked = masked.replaceAll(decode(secret), "***");
  }
  return masked;
}

function environment(source: Source, options: GitOptions): Record<string, string> {
  const agent = process.env.SSH_AUTH_SOCK;
  return {
    ...(agent ? { SSH_AUTH_SOCK: agent } : {}),
    ...(options.env ?? baseEnvironment()),
    LC_ALL: "C",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "",
    SSH_ASKPASS: "",
    GIT_SSH_COMMAND: ssh,
    // Submodules may come over the network too, but from local folders only if the project itself does.
    GIT_ALLOW_PROTOCOL: source.transport === "file" ? "http:https:git:ssh:file" : "http:https:git:ssh",
    GIT_NO_REPLACE_OBJECTS: "1",
    GIT_DEFAULT_REF_FORMAT: "files",
    // git in a workspace with a broken repository must not find one in a folder above.
    GIT_CEILING_DIRECTORIES: dirname(options.workspace),
  };
}

/** Splits bytes into printable lines and drops what of a line is over the limit. */
async function* linesOf(stream: AsyncIterable<Buffer | string>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let open = "";
  try {
    for await (const chunk of stream) {
      const text = typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
      const parts = (open + text).split(/[\r\n]+/);
      open = (parts.pop() ?? "").slice(0, maxLineLength);
      for (const part of parts) if (part.trim()) yield shown(part.slice(0, maxLineLength));
    }
  } catch (error) {
    // We gave up on a pipe that is held open.
    if ((error as NodeJS.ErrnoException).code !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
  }
  if (open.trim()) yield shown(open);
}

/** A server's words must not control a terminal. */
function shown(line: string): string {
  return printable(line.trimEnd().replaceAll("\t", "    "));
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function stopped(signal: AbortSignal): BuildError {
  return new BuildError("STOPPED", "the checkout was stopped", { cause: signal.reason });
}

function cantStart(cause: unknown): BuildError {
  const missing = (cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT";
  const why = missing ? "it isn't on the PATH of the agent; install git" : String(cause);
  return new BuildError("CHECKOUT", `git can't be started: ${why}`, { cause });
}
