/**
 * Runs git for a checkout: without questions, without a user's configuration, without secrets in the output, and without
 * leaving a process behind.
 */
import type { Readable } from "node:stream";
import { baseEnvironment } from "../environment.ts";
import { BuildError } from "../errors.ts";
import { decode, gist, linesOf, mask } from "./output.ts";
import type { Source } from "./source.ts";

/** Where commands run: a process tree for each, as runners/trees/ makes them. */
export interface CommandTrees {
  create(name: string, limits: object, folder: string, owner: Owner): Promise<CommandTree>;
}

/** The build's user, to whom the workspace belongs, or the one that fetches, to whom the mirrors belong. */
export type Owner = "build" | "fetch";

interface CommandTree extends AsyncDisposable {
  /** @throws why it can't be started */
  run(command: {
    readonly argv: readonly [string, ...string[]];
    readonly cwd: string;
    readonly env: Readonly<Record<string, string>>;
    readonly input?: string;
  }): Promise<{
    readonly stdout: Readable;
    readonly stderr: Readable;
    readonly ended: Promise<{ readonly code: number | null; readonly unstarted?: unknown }>;
    terminate(): Promise<void>;
  }>;
  kill(): Promise<{ readonly survivors: readonly unknown[] }>;
}

export interface GitOptions {
  readonly trees: CommandTrees;
  /** Takes a line for the build's console; git's output waits for the promise it returns. */
  readonly log: (line: string) => unknown;
  readonly signal?: AbortSignal;
  /** The environment below git's own settings. */
  readonly env?: Readonly<Record<string, string>>;
  /** How long a server may send nothing. */
  readonly stallTimeoutMs?: number;
}

export interface Command {
  readonly owner: Owner;
  /** The workspace, or the mirror. */
  readonly folder: string;
  /** Run by /bin/sh, with `args` as $1, $2 …; public, as every command line is. */
  readonly script: string;
  readonly args: readonly string[];
  /** What is fetched, or checked out: it decides which transports are allowed and what is masked. */
  readonly source: Source;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** It talks to the server. */
  readonly fetches?: boolean;
}

export interface Finished {
  readonly code: number;
  /** The last lines on standard error, with secrets masked. */
  readonly output: string;
  /** The lines on standard output. */
  readonly data: readonly string[];
}

const settings: Readonly<Record<string, string>> = {
  "core.hooksPath": "/dev/null",
  "core.fsmonitor": "false",
  "core.attributesFile": "/dev/null",
  "protocol.ext.allow": "never",
  "safe.directory": "*",
  "submodule.recurse": "false",
  "advice.detachedHead": "false",
  "gc.auto": "0",
  "maintenance.auto": "false",
};

// Without any user's configuration (ssh_config(5)): a ProxyCommand there would run in the middle of a checkout.
const ssh = "ssh -F none -o BatchMode=yes -o ControlMaster=no -o ConnectTimeout=30 -o ServerAliveInterval=30";
const defaultStallTimeoutMs = 120_000;
const maxLogged = 1000;
const maxKept = 40;
const maxDataBytes = 64 * 1024 * 1024;
/** Between SIGTERM to git's process group and the kill; and before giving up on a pipe that a survivor of the kill holds open. */
const killTimeoutMs = 2000;

/**
 * Runs one command to its end; whatever it started is dead then. Its standard error goes to the log, 1,000 lines at most.
 * @throws BuildError NO_GIT when it can't be started; CHECKOUT when it leaves a process that can't be killed; CHECKOUT_UNREACHABLE
 * when the server sends nothing for too long; STOPPED when the signal aborted
 */
export async function run(command: Command, options: GitOptions): Promise<Finished> {
  const { signal, stallTimeoutMs = defaultStallTimeoutMs } = options;
  const { source } = command;
  if (signal?.aborted) throw stopped(signal);
  await using tree = await options.trees.create("git", {}, command.folder, command.owner);
  const child = await tree
    .run({
      argv: ["/bin/sh", "-c", command.script, "labgear-git", ...command.args],
      cwd: command.folder,
      env: environment(command, options, stallTimeoutMs),
      ...(command.input !== undefined && { input: command.input }),
    })
    .catch((cause: unknown) => {
      throw cantStart((cause as Error).message, cause);
    });
  const timers = new Set<NodeJS.Timeout>();
  const after = (ms: number, act: () => void) => timers.add(setTimeout(act, ms));
  let killing: Promise<{ readonly survivors: readonly unknown[] }> | undefined;
  const kill = () => {
    killing ??= tree.kill();
    return killing;
  };
  const end = () => {
    void child.terminate();
    after(killTimeoutMs, () => void kill());
  };
  signal?.addEventListener("abort", end, { once: true });
  if (signal?.aborted) end();
  let stalled = false;
  // curl watches the bytes itself (http.lowSpeedTime), and prints nothing while it downloads a plain file.
  const stall =
    command.fetches && !source.transport.startsWith("http")
      ? setTimeout(() => {
          stalled = true;
          end();
        }, stallTimeoutMs)
      : undefined;
  if (stall) timers.add(stall);
  const exited = child.ended.then((end) => {
    void kill();
    after(killTimeoutMs, () => {
      child.stdout.destroy();
      child.stderr.destroy();
    });
    return end;
  });
  try {
    const progress = () => void (stalled || stall?.refresh());
    const [output, data] = await Promise.all([
      logged(watched(child.stderr, progress), source, options.log),
      collected(child.stdout),
    ]);
    const { code, unstarted } = await exited;
    const { survivors } = await kill();
    if (signal?.aborted) throw stopped(signal);
    if (stalled) {
      const why = `the server sent nothing for ${stallTimeoutMs / 1000} s`;
      throw new BuildError("CHECKOUT_UNREACHABLE", `the fetch was given up: ${why}`);
    }
    if (unstarted !== undefined) throw cantStart((unstarted as Error).message, unstarted);
    if (survivors.length > 0) throw new BuildError("CHECKOUT", "git left a process that can't be killed");
    if (code === 127) throw cantStart("it isn't on the PATH of the agent; install git");
    if (code === 125) throw cantStart(gist(output));
    return { code: code ?? 128, output, data };
  } finally {
    signal?.removeEventListener("abort", end);
    // Also when the console can't be written.
    await kill();
    await exited;
    for (const timer of timers) clearTimeout(timer);
  }
}

async function* watched(stream: AsyncIterable<Buffer>, progress: () => void): AsyncGenerator<Buffer> {
  for await (const chunk of stream) {
    progress();
    yield chunk;
  }
}

/** @returns the last lines */
async function logged(
  stream: AsyncIterable<Buffer>,
  source: Source,
  log: GitOptions["log"],
): Promise<string> {
  const kept: string[] = [];
  let lines = 0;
  for await (const line of linesOf(stream)) {
    const clean = mask(line, source.url);
    if (kept.push(clean) > maxKept) kept.shift();
    if (++lines < maxLogged) await log(`git: ${clean}`);
    else if (lines === maxLogged) await log("git: … (more is not shown)");
  }
  return kept.join("\n");
}

async function collected(stream: AsyncIterable<Buffer>): Promise<string[]> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > maxDataBytes) throw new BuildError("CHECKOUT_REFUSED", "the repository has too many refs");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString().split("\n").filter(Boolean);
}

function environment(
  { source, owner, env }: Command,
  options: GitOptions,
  stallTimeoutMs: number,
): Record<string, string> {
  const agent = process.env.SSH_AUTH_SOCK;
  const remote = owner === "fetch" ? remoteOf(source) : { settings: {}, env: {} };
  const configuration = Object.entries({
    ...settings,
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": String(Math.ceil(stallTimeoutMs / 1000)),
    ...remote.settings,
  });
  return {
    ...(agent && owner === "fetch" ? { SSH_AUTH_SOCK: agent } : {}),
    ...(options.env ?? baseEnvironment()),
    LC_ALL: "C",
    // A user's configuration isn't read: any build could have written it. The settings override the system's.
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_CONFIG_COUNT: String(configuration.length),
    ...Object.fromEntries(
      configuration.flatMap(([key, value], i) => [
        [`GIT_CONFIG_KEY_${i}`, key],
        [`GIT_CONFIG_VALUE_${i}`, value],
      ]),
    ),
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "",
    SSH_ASKPASS: "",
    GIT_SSH_COMMAND: ssh,
    // Submodules may come over the network too, but from local folders only if the project itself does.
    GIT_ALLOW_PROTOCOL: source.transport === "file" ? "http:https:git:ssh:file" : "http:https:git:ssh",
    GIT_NO_REPLACE_OBJECTS: "1",
    GIT_NO_LAZY_FETCH: "1",
    GIT_LFS_SKIP_SMUDGE: "1",
    GIT_DEFAULT_REF_FORMAT: "files",
    ...remote.env,
    ...env,
  };
}

/**
 * The remote `origin`, by way of the environment. Every user of the box can read the arguments of git's helpers, so that a password
 * in the URL of a web server goes through a credential helper (gitcredentials(7)), for that server alone.
 */
function remoteOf({ url, transport }: Source) {
  const plain = transport.startsWith("http") ? URL.parse(url) : null;
  if (!plain?.username) return { settings: { "remote.origin.url": url }, env: {} };
  const { origin, username, password } = plain;
  plain.username = "";
  plain.password = "";
  const settings = { "remote.origin.url": plain.href, [`credential.${origin}.helper`]: credentialHelper };
  const env = { LABGEAR_USERNAME: decode(username), LABGEAR_PASSWORD: decode(password) };
  return { settings, env };
}

const credentialHelper =
  '!f() { if [ "$1" = get ]; then printf "username=%s\\npassword=%s\\n" "$LABGEAR_USERNAME" "$LABGEAR_PASSWORD"; fi; }; f';

export function stopped(signal: AbortSignal): BuildError {
  return new BuildError("STOPPED", "the checkout was stopped", { cause: signal.reason });
}

function cantStart(why: string, cause: unknown = why): BuildError {
  return new BuildError("NO_GIT", `git can't be started: ${why}`, { cause });
}
