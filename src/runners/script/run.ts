/** Runs a script on this box: its whole process tree, its output, and its end. */
import { access, constants, rm, stat, writeFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import type { FoundProcess } from "#/host/proc.ts";
import { signalGroup } from "#/lib/process-group.ts";
import { RunnerError } from "../errors.ts";
import type { Killed, Launch, Limits, ProcessTree, ProcessTrees, TreeOwner } from "../trees/tree.ts";
import { type Output, OutputPipe } from "./output.ts";

export interface HostRun {
  /** Run as it is when it starts with "#!", else by /bin/sh -e. */
  readonly script: string;
  /** Where it is written to, with mode 0700; what is there is replaced. */
  readonly scriptFile: string;
  readonly cwd: string;
  /** Files and folders that the script has to itself meanwhile, where it runs as another user. */
  readonly belongings?: readonly string[];
  /** The complete environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** Milliseconds between SIGTERM and the kill. */
  readonly grace: number;
  readonly limits: Limits;
  /** For people: names the control group. */
  readonly name: string;
  readonly trees: ProcessTrees;
  /** Whose the script is; default: a build's. */
  readonly owner?: TreeOwner;
  readonly output: Output;
  /** Its abort stops the run: SIGTERM to every process, the grace, the kill. */
  readonly signal: AbortSignal;
}

/** A passed, failed and stopped run have this one shape; what is the box's fault is thrown as a RunnerError. */
export interface HostEnding {
  /** The script's exit code; null when a signal ended it, or when it was stopped before it began. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The kernel killed a process because the memory limit was reached. */
  readonly oom: boolean;
  /** It was told to stop before the script had ended. */
  readonly stopped: boolean;
  /** Alive when the script had ended, or when the grace had; then killed. */
  readonly leftovers: readonly FoundProcess[];
  /** Alive even after the kill. */
  readonly survivors: readonly FoundProcess[];
  /** One line each. */
  readonly warnings: readonly string[];
}

type Child = ReturnType<typeof start>;

/**
 * The run ends when the script's own process does; what else of the tree then lives is killed at once. When stopped
 * it ends as soon as the tree is empty, or the grace is over.
 *
 * @throws RunnerError when the script can't be started; what the output's consumer threw, after the kill
 */
export async function runHost(run: HostRun): Promise<HostEnding> {
  const argv = await prepareScript(run.script, run.scriptFile);
  await using tree = await run.trees.create(run.name, run.limits, run.cwd, run.owner);
  for (const path of [run.scriptFile, ...(run.belongings ?? [])]) await tree.hand(path);
  using pipe = await OutputPipe.open(`${run.scriptFile}.output`, (path) => tree.hand(path));
  if (run.signal.aborted) return { ...notStarted, warnings: tree.warnings };

  const child = start(tree.launch(argv), run, pipe.writer);
  pipe.closeWriter();
  if (child.pid !== undefined) tree.attach(child.pid, pipe.link);
  const complaint = readComplaint(child);
  const lost = new AbortController();
  const reading = pipe.read(run.output).catch((error: unknown) => lost.abort(error));

  const how = await firstOf(child, run.signal, lost.signal);
  // Whom no SIGTERM reaches is killed all the same.
  if (how === "stopped") await stop(tree, run.grace, complaint, lost.signal).catch(() => {});
  const { found: leftovers, survivors } = await kill(tree, child);
  pipe.finish();
  // A survivor may be the script's own process, whose end nobody can wait for.
  const result = how === "ended" || survivors.length === 0 ? await child : undefined;
  await reading;
  if (lost.signal.aborted) throw lost.signal.reason;
  refuseUnstarted(result, await complaint);
  return {
    code: result?.exitCode ?? null,
    signal: result?.signal ?? null,
    oom: await tree.outOfMemory(),
    stopped: how === "stopped",
    leftovers,
    survivors,
    warnings: tree.warnings,
  };
}

const notStarted: Omit<HostEnding, "warnings"> = {
  code: null,
  signal: null,
  oom: false,
  stopped: true,
  leftovers: [],
  survivors: [],
};

/**
 * Writes the script with mode 0700 and returns the command line. "#!" is followed here as the kernel would, execve(2):
 * so it also works on file systems mounted noexec, and an interpreter that isn't there is known before the start.
 *
 * @throws RunnerError SCRIPT, INTERPRETER
 */
async function prepareScript(script: string, file: string): Promise<[string, ...string[]]> {
  try {
    // Never through a link that a job has put there.
    await rm(file, { force: true });
    await writeFile(file, script, { mode: 0o700, flag: "wx" });
  } catch (error) {
    throw new RunnerError("SCRIPT", `the script can't be written: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const line = /^#![ \t]*([^\n]*)/.exec(script)?.[1]?.trim();
  if (line === undefined) return ["/bin/sh", "-e", file];
  const [, interpreter = "", argument] = /^(\S*)[ \t]*(.*)$/.exec(line) ?? [];
  await checkInterpreter(interpreter);
  return argument ? [interpreter, argument, file] : [interpreter, file];
}

async function checkInterpreter(path: string): Promise<void> {
  const fix = "install it on this box, or mend the first line of the job's script";
  if (!path.startsWith("/")) {
    throw new RunnerError("INTERPRETER", `the script's interpreter "${path}" is no absolute path; ${fix}`);
  }
  try {
    await access(path, constants.X_OK);
    if ((await stat(path)).isFile()) return;
  } catch (error) {
    throw new RunnerError(
      "INTERPRETER",
      `the script's interpreter can't be run: ${(error as Error).message}; ${fix}`,
      {
        cause: error,
      },
    );
  }
  throw new RunnerError("INTERPRETER", `the script's interpreter ${path} is no program; ${fix}`);
}

function start(launch: Launch, run: HostRun, writer: number) {
  // execa takes any descriptor, but its types know the small ones only.
  const output = writer as 3;
  return execa(launch.file, [...launch.args], {
    cwd: run.cwd,
    env: { ...run.env, ...launch.env },
    extendEnv: false,
    // The fourth is the launcher's, for what it can't do.
    stdio: ["ignore", output, output, "pipe"],
    buffer: false,
    reject: false,
    // A session of its own. Ending it is the tree's business, not execa's.
    detached: true,
    cleanup: false,
  });
}

/** What happened first: the script's process ended, somebody told it to stop, or its output has no taker any more. */
async function firstOf(
  child: Child,
  stop: AbortSignal,
  lost: AbortSignal,
): Promise<"ended" | "stopped" | "lost"> {
  const over = new AbortController();
  const aborted = <Name>(signal: AbortSignal, name: Name) =>
    new Promise<Name>((resolve) => {
      if (signal.aborted) resolve(name);
      signal.addEventListener("abort", () => resolve(name), { signal: over.signal });
    });
  try {
    const ended = child.then(() => "ended" as const);
    return await Promise.race([ended, aborted(lost, "lost" as const), aborted(stop, "stopped" as const)]);
  } finally {
    over.abort();
  }
}

/** SIGTERM to everybody, then up to the grace for their cleaning up; nobody is left to wait for when the output is lost. */
async function stop(
  tree: ProcessTree,
  grace: number,
  inside: Promise<string>,
  lost: AbortSignal,
): Promise<void> {
  // Before that the launcher may not be in the tree yet, and would slip through.
  await inside;
  await tree.terminate();
  await tree.emptied(grace, lost);
}

/** How long the kill is tried, in milliseconds, and how often. */
const killBound = 5000;
const killInterval = 100;

/**
 * Kills the tree. To look for its processes takes file descriptors: while there are none, the script's own group is killed
 * blindly, which may free some, and the kill is tried again.
 *
 * @throws the system's error when that doesn't help
 */
async function kill(tree: ProcessTree, child: Child): Promise<Killed> {
  const until = performance.now() + killBound;
  let ended = false;
  void child.then(() => {
    ended = true;
  });
  for (;;) {
    try {
      return await tree.kill();
    } catch (error) {
      // After the script's end the group's number may be another's.
      if (child.pid !== undefined && !ended) signalGroup(child.pid, "SIGKILL");
      if (performance.now() > until) throw error;
      await delay(killInterval);
    }
  }
}

/** What the launcher says on its descriptor 3; it is closed when the launcher is inside the tree, or dead. */
async function readComplaint(child: Child): Promise<string> {
  const stream = child.stdio[3] as Readable | undefined;
  let text = "";
  if (!stream || child.pid === undefined) return text;
  for await (const chunk of stream) text = (text + String(chunk)).slice(0, 1000);
  return text.trim();
}

function refuseUnstarted(result: Awaited<Child> | undefined, complaint: string): void {
  if (complaint) throw new RunnerError("START", `the job can't be put into its control group: ${complaint}`);
  if (!result?.failed || result.exitCode !== undefined || result.signal !== undefined) return;
  const advice =
    result.code === "E2BIG" ? "; its environment is too large, shorten the build's parameters" : "";
  const message = `the script can't be started: ${result.originalMessage ?? result.shortMessage}${advice}`;
  throw new RunnerError("START", message.split("\n", 1)[0] ?? message, { cause: result.cause });
}
