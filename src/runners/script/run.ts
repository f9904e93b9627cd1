/** Runs a script on this box, with its whole process tree and its output, to its end. */
import { lstatSync, writeFileSync } from "node:fs";
import { access, constants, rm, stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { FoundProcess } from "#/host/proc.ts";
import { signalGroup } from "#/lib/process-group.ts";
import { RunnerError } from "../errors.ts";
import type { Killed, Limits, Place, ProcessTree, ProcessTrees, Started, TreeOwner } from "../trees/tree.ts";
import type { Output } from "./output.ts";

export interface HostRun {
  /** Runs by its interpreter if it starts with "#!", else by /bin/sh -e. */
  readonly script: string;
  /** Where it is written to, with mode 0700; an existing file is replaced. */
  readonly scriptFile: string;
  readonly cwd: string;
  /** Files and folders that belong to the script's user while it runs. */
  readonly belongings?: readonly string[];
  /** The complete environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** Between SIGTERM and SIGKILL. */
  readonly graceMs: number;
  readonly limits: Limits;
  /** Names the control group, for people. */
  readonly name: string;
  readonly trees: ProcessTrees;
  /** Default: a build. */
  readonly owner?: TreeOwner;
  /** Where it is by itself, if the trees have such places. */
  readonly place?: Place | undefined;
  readonly output: Output;
  /** Its abort stops the run: SIGTERM to every process, then SIGKILL after the grace. */
  readonly signal: AbortSignal;
}

/** Passed, failed and stopped runs all end like this; what is the box's fault is thrown as a RunnerError. */
export interface HostEnding {
  /** The script's exit code; null: a signal ended it, or it was stopped before it started. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The kernel killed a process at the memory limit. */
  readonly oom: boolean;
  /** It was stopped before the script ended. */
  readonly stopped: boolean;
  /** Processes that outlived the script, or the grace, and were killed. */
  readonly leftovers: readonly FoundProcess[];
  /** Processes that outlived SIGKILL. */
  readonly survivors: readonly FoundProcess[];
  /** One line each. */
  readonly warnings: readonly string[];
}

/**
 * The run ends with the script's own process; the rest of the tree is killed at once. A stopped run ends when the tree is empty,
 * or the grace is over.
 *
 * @throws RunnerError when the script can't be started; the error of the output's consumer, after the kill
 */
export async function runHost(run: HostRun): Promise<HostEnding> {
  const argv = await prepareScript(run.script, run.scriptFile);
  const { name, limits, cwd, env, owner, place } = run;
  await using tree = await run.trees.create(name, limits, cwd, owner, "script");
  for (const path of [run.scriptFile, ...(run.belongings ?? [])]) await tree.give(path);
  if (run.signal.aborted) return { ...notStarted, warnings: tree.warnings };

  const child = await tree.start({ argv, cwd, env, place });
  using pipe = child.output;
  const lost = new AbortController();
  const reading = pipe.read(run.output).catch((error: unknown) => lost.abort(error));

  const how = await firstOf(child, run.signal, lost.signal);
  // Whatever happens to the SIGTERM, the kill follows.
  if (how === "stopped") await stop(tree, run.graceMs, child.inside, lost.signal).catch(() => {});
  const { found: leftovers, survivors } = await kill(tree, child);
  pipe.finish();
  // A survivor can be the script's own process, which never ends.
  const result = how === "ended" || survivors.length === 0 ? await child.ended : undefined;
  await reading;
  if (lost.signal.aborted) throw lost.signal.reason;
  const failure = await child.inside;
  if (failure) throw new RunnerError("START", `the job can't be put into its place: ${failure}`);
  return {
    code: result?.code ?? null,
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
 * Writes the script with mode 0700 and returns the command line. "#!" is interpreted here, as in execve(2): it then works on
 * file systems mounted noexec, and a missing interpreter is noticed before the start.
 *
 * @throws RunnerError SCRIPT, INTERPRETER
 */
async function prepareScript(script: string, file: string): Promise<[string, ...string[]]> {
  try {
    // A job may have put a link there.
    if (lstatSync(file, { throwIfNoEntry: false })) await rm(file, { recursive: true, force: true });
    writeFileSync(file, script, { mode: 0o700, flag: "wx" });
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
  const fix = "install it on this box, or change the first line of the job's script";
  if (!path.startsWith("/")) {
    throw new RunnerError(
      "INTERPRETER",
      `the script's interpreter "${path}" is not an absolute path; ${fix}`,
    );
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
  throw new RunnerError("INTERPRETER", `the script's interpreter ${path} is not a program; ${fix}`);
}

/** What happened first: the script's process ended, the run was stopped, or the output's consumer failed. */
async function firstOf(
  child: Started,
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
    const ended = child.ended.then(() => "ended" as const);
    return await Promise.race([ended, aborted(lost, "lost" as const), aborted(stop, "stopped" as const)]);
  } finally {
    over.abort();
  }
}

/** Sends SIGTERM to all processes, then waits until they are gone, the grace is over, or the output is lost. */
async function stop(
  tree: ProcessTree,
  graceMs: number,
  inside: Promise<string>,
  lost: AbortSignal,
): Promise<void> {
  // Until then the launcher may be outside of the tree, and would get no signal.
  await inside;
  await tree.terminate();
  await tree.emptied(graceMs, lost);
}

const killTimeoutMs = 5000;
const killIntervalMs = 100;

/**
 * Kills the tree. It takes file descriptors to find its processes: while there are none, only the script's own process group is
 * killed, which may free some, and then the tree again.
 *
 * @throws the system's error when that doesn't help
 */
async function kill(tree: ProcessTree, child: Started): Promise<Killed> {
  const until = performance.now() + killTimeoutMs;
  let ended = false;
  void child.ended.then(
    () => {
      ended = true;
    },
    () => {},
  );
  for (;;) {
    try {
      return await tree.kill();
    } catch (error) {
      // After the script's end the group's id can belong to another one.
      if (child.pid !== undefined && !ended) signalGroup(child.pid, "SIGKILL");
      if (performance.now() > until) throw error;
      await delay(killIntervalMs);
    }
  }
}
