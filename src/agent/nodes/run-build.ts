/**
 * One build on its node, from top to bottom as the README's "How a build ends" tells it: open, inputs, check the box, workspace,
 * checkout, environment, run, collect.
 */
import { unlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Build } from "#/builds/build.ts";
import { type Checkout, type CheckoutOptions, checkout } from "#/builds/checkout/checkout.ts";
import type { Mirrors } from "#/builds/checkout/mirrors.ts";
import type { ConsoleLog } from "#/builds/console/log.ts";
import { buildVariables, jobEnvironment } from "#/builds/environment.ts";
import { BuildError, type BuildErrorCode } from "#/builds/errors.ts";
import type { Ending } from "#/builds/record.ts";
import { type BuildSecrets, provideSecrets } from "#/builds/secrets.ts";
import { boundCaches, prepareCaches } from "#/builds/workspace/caches.ts";
import { makeFolders } from "#/builds/workspace/files.ts";
import { beginPeriod } from "#/builds/workspace/period.ts";
import { removeTree } from "#/builds/workspace/remove.ts";
import type { BuildScratch, Scratch } from "#/builds/workspace/scratch.ts";
import { keepTrustApart, makeWay, prepareWorkspace, workspaceOf } from "#/builds/workspace/workspace.ts";
import type { Config, JobConfig } from "#/config/model.ts";
import { BoardFailure, inWords, meaningOf } from "#/devices/errors.ts";
import { buildFolder } from "#/lib/job-folder.ts";
import { RunnerError } from "#/runners/errors.ts";
import { type HostEnding, runHost } from "#/runners/script/run.ts";
import type { Strangers } from "#/runners/trees/remains.ts";
import type { ProcessTrees } from "#/runners/trees/tree.ts";
import { collect, warn } from "./collect.ts";
import type { BuildInputs, Inputs } from "./inputs.ts";
import type { BuildClient } from "./reception.ts";
import { type SignsOfLife, watchSilence, watchTimeout } from "./watchdogs.ts";

/** What all builds of the box share. */
export interface BuildContext {
  /** The configuration in force; a running build keeps the job it started with. */
  readonly config: () => Config;
  readonly stateDir: string;
  readonly trees: ProcessTrees;
  readonly mirrors: Mirrors;
  readonly scratch: Scratch;
  readonly strangers: Strangers;
  readonly boxHealth: BoxHealth;
  readonly inputs: Inputs;
  readonly signs: SignsOfLife;
}

/** Whether the box can run builds at all. */
export interface BoxHealth {
  /** A quick look before a job is asked for. When it is false, all nodes are held, and no build is lost. */
  isReady(): boolean;
  /**
   * Tries what every build needs: better it fails here than half-way through.
   * @throws the system's error
   */
  check(): Promise<void>;
  /** One line for an error that means the box itself can't go on; undefined for any other. */
  explain(error: unknown): string | undefined;
  /** Keeps all nodes from taking builds until the box is well again. */
  failed(reason: string): void;
  /** @param fault what ended a build of this node without a result, and no build can bring about; absent: it worked */
  ended(node: string, fault?: string): void;
}

export interface BuildRequest {
  readonly build: Build;
  readonly job: JobConfig;
  /** As the client sent them, nothing masked. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly client: BuildClient;
}

/** The board that a build on a device has to itself until it is disposed of: see run-device-build.ts. */
export interface ReservedBoard extends AsyncDisposable {
  /** What the job's scripts know of the board. */
  readonly variables: Readonly<Record<string, string>>;
  /**
   * Does the job's work.
   * @throws what isn't the job's own fault
   */
  run(host: BuildHost): Promise<JobOutcome>;
}

export type ReserveBoard = (request: BuildRequest) => Promise<ReservedBoard>;

/** What a job on a board has on the host. */
export interface BuildHost extends BuildRequest {
  readonly console: ConsoleLog;
  readonly workspace: string;
  readonly trees: ProcessTrees;
  /** @throws RunnerError, or the console's error */
  runScript(script: string, options?: ScriptOptions): Promise<HostEnding>;
}

export interface ScriptOptions {
  /** Part of the name of its file and its process tree; two scripts of a build may share it. */
  readonly name?: string;
  /** Between SIGTERM and SIGKILL; default: the job's. */
  readonly graceMs?: number;
  /** Stops it; default: the build's. */
  readonly signal?: AbortSignal;
}

export interface JobOutcome {
  readonly ending: Ending;
  /** A JUnit report of the test cases read from a board's console. */
  readonly junit?: string;
}

/**
 * Runs a build until it ends, is stopped or times out. The client gets its ending from the executor, and a stop decides
 * that ending whatever the work came to: see Build.end().
 * @param reserve absent: the job runs on the host
 * @returns how it ended; every error is an ending
 */
export async function runBuild(
  request: BuildRequest,
  context: BuildContext,
  reserve?: ReserveBoard,
): Promise<Ending> {
  const { build, job, parameters } = request;
  try {
    const console = await build.open(context.config().builds.maxConsoleBytes);
    using _ = context.signs.watch(build, parameters);
    // How long its client takes is no time of the job, and nothing is touched before.
    if (job.inputs.length > 0) build.step("inputs");
    await using inputs = await context.inputs.receive(request);
    using _timeout = watchTimeout(build, job);
    using _silence = watchSilence(build, job);
    const ending = await work({ ...request, console, inputs }, context, reserve);
    context.boxHealth.ended(build.record.node);
    return ending;
  } catch (error) {
    const ending = endingOf(error, context.boxHealth);
    if (isNodesFault(error) && !build.signal.aborted)
      context.boxHealth.ended(build.record.node, ending.reason);
    return ending;
  }
}

async function work(
  request: BuildRequest & { readonly console: ConsoleLog; readonly inputs: BuildInputs },
  { config, stateDir, trees, mirrors, scratch, strangers, boxHealth }: BuildContext,
  reserve: ReserveBoard | undefined,
): Promise<Ending> {
  const { build, job, parameters, console, inputs } = request;
  if (reserve) build.step("reserve");
  await using board = await reserve?.(request);

  build.enter("preparing");
  await boxHealth.check();
  // A build may be stopped while it waits for its turn: then the workspace stays as it is.
  build.signal.throwIfAborted();
  const { executor } = workspaceOf(stateDir, build.record);
  const place = { stateDir, executor, job: job.name };
  if (await keepTrustApart(place, job.trust))
    await console.note("the workspace is a new one: builds of changes have used the one before");
  const workspace = prepareWorkspace(place);
  const endPeriod = beginPeriod(workspace);
  const log = (line: string) => console.note(line);
  const options = { workspace, parameters, mirrors, trust: job.trust, trees, log, signal: build.signal };
  const renew = () => renewWorkspace(workspace, place);
  if (job.checkout) build.step("checkout");
  // Until the build has ended its workspace borrows from the mirrors.
  await using change = job.checkout ? await checkOut(options, renew) : undefined;
  if (change) build.record.commit = change.commit;

  await using secrets = await provideSecrets(job.secrets, {
    stateDir,
    name: buildFolder(build.record),
  });
  if (secrets.masker) console.mask(secrets.masker);
  await using parametersFile = writeParameters(request);
  const caches =
    job.caches.length > 0
      ? await prepareCaches(stateDir, { executor, job: job.name, trust: job.trust }, job.caches)
      : undefined;
  for (const line of caches?.lines ?? []) await console.note(line);
  await using home = trees.apart ? scratch.create(build.record) : undefined;
  const own = {
    ...buildVariables(build, workspace),
    ...board?.variables,
    ...inputs.variables,
    ...secrets.variables,
    ...(caches && { LABGEAR_CACHE: caches.folder }),
    LABGEAR_PARAMETERS: parametersFile.path,
  };
  const { env, refused } = jobEnvironment({ parameters, allowed: job.parameters, own });
  warn(
    build,
    refused.map((name) => `not put into the environment: ${name}`),
  );

  build.enter("running");
  const belongings = [
    ...inputs.files,
    ...secrets.files,
    ...(caches?.folders ?? []),
    ...(home?.folders ?? []),
  ];
  const host = { workspace, console, trees, strangers, env, secrets, belongings, home };
  const runScript = scriptRunner(request, host);
  const outcome = board
    ? await board.run({ ...request, console, workspace, trees, runScript })
    : await runOnHost(request, runScript);
  const { ending } = outcome;
  build.collect(ending);
  build.step("collect");
  await collect({ ...request, ...outcome, workspace, trees, secrets, endPeriod, config: config().builds });
  warn(build, await boundCaches(caches?.folders ?? [], config().builds.maxCacheBytes));
  for (const warning of build.record.warnings ?? []) await console.note(warning);
  return ending;
}

async function runOnHost(
  { build, job }: BuildRequest,
  runScript: BuildHost["runScript"],
): Promise<JobOutcome> {
  if (job.work.kind !== "run") throw new TypeError(`${job.name} is for a device`);
  build.step("run");
  return { ending: scriptEnding(await runScript(job.work.script)) };
}

/** How a build ends by how its script did. */
export function scriptEnding({ stopped, oom, signal, code }: HostEnding): Ending {
  if (stopped) return { kind: "stopped", reason: "the job was stopped" };
  if (oom) return { kind: "failed", reason: "the job ran out of the memory that its limits allow" };
  if (signal) return { kind: "failed", reason: `the job was ended by ${signal}`, signal };
  if (code === 0) return { kind: "passed", reason: "the job passed" };
  const reason = `the job ended with exit code ${code}`;
  return { kind: "failed", reason, ...(code !== null && { exitCode: code }) };
}

/** How a build ends by how its board failed. */
export function boardEnding(error: BoardFailure): Ending {
  const kind = meaningOf(error.reason) === "failure" ? "failed" : "infrastructure";
  return { kind, reason: inWords(error), cause: error.reason };
}

const nodesFaults: ReadonlySet<string> = new Set([
  "WORKSPACE",
  "SECRET",
  "NO_GIT",
] satisfies BuildErrorCode[]);

/** Whether no change or client can bring it about; a failed system call of ours is the box's, too. */
function isNodesFault(error: unknown): boolean {
  if (error instanceof BuildError) return nodesFaults.has(error.code);
  return error instanceof RunnerError || (error instanceof Error && "syscall" in error);
}

function endingOf(error: unknown, boxHealth: BoxHealth): Ending {
  // The signal's reason: a stop broke the work off, and decides the ending.
  if (!(error instanceof Error)) return { kind: "stopped", reason: "the job was stopped" };
  const unwell = boxHealth.explain(error);
  if (unwell) {
    boxHealth.failed(unwell);
    return { kind: "infrastructure", reason: unwell };
  }
  if (error instanceof BoardFailure) return boardEnding(error);
  const code = error instanceof BuildError ? error.code : undefined;
  // A refused checkout is the change's own fault, and an input the client's: they would be refused on any other box too.
  const kind = code === "CHECKOUT_REFUSED" || code === "INPUT" ? "failed" : "infrastructure";
  const reason = error.message.split("\n", 1)[0] ?? "";
  return { kind, reason, ...(code?.startsWith("INPUT") && { cause: "input" }) };
}

/** Checks the change out; where the workspace can't be emptied, whatever a job left in it, into a new one. */
async function checkOut(options: CheckoutOptions, renew: () => Promise<void>): Promise<Checkout> {
  try {
    return await checkout(options);
  } catch (error) {
    const helps = error instanceof BuildError && error.code === "WORKSPACE" && !options.signal?.aborted;
    if (!helps) throw error;
    await options.log(`${error.message}; it is moved aside, and a new one made`);
    await renew();
    return await checkout(options);
  }
}

async function renewWorkspace(
  workspace: string,
  place: Parameters<typeof prepareWorkspace>[0],
): Promise<void> {
  const aside = makeWay(workspace);
  prepareWorkspace(place);
  // What is left of it takes space, and is all that a person has to remove.
  if (aside !== undefined) await removeTree(aside).catch(() => {});
}

/** All parameters as a JSON file that only the job's user can read; removed with the build, since it may hold secrets. */
function writeParameters({ build, parameters }: BuildRequest): AsyncDisposable & { readonly path: string } {
  const path = join(build.folder, "parameters.json");
  writeFileSync(path, JSON.stringify(Object.fromEntries(parameters), null, 2), { mode: 0o600 });
  return {
    path,
    async [Symbol.asyncDispose]() {
      try {
        unlinkSync(path);
      } catch {
        // Whatever the job made of it.
        await removeTree(path).catch(() => {});
      }
    },
  };
}

/** Runs scripts in the workspace, with their output on the console; what they leave running is killed and recorded. */
function scriptRunner(
  { build, job }: BuildRequest,
  place: {
    workspace: string;
    console: ConsoleLog;
    trees: ProcessTrees;
    strangers: Strangers;
    env: Record<string, string>;
    secrets: BuildSecrets;
    /** Besides the parameters and the artifacts. */
    belongings: readonly string[];
    /** Absent: the build has the agent's. */
    home: BuildScratch | undefined;
  },
): BuildHost["runScript"] {
  const { workspace, console, trees, strangers, env, secrets, belongings, home } = place;
  const { record } = build;
  const masked = (found: HostEnding["leftovers"]) =>
    found.map((process) => ({ ...process, command: secrets.mask(process.command) }));
  return async (script, options = {}) => {
    const { name, graceMs = job.graceMs, signal = build.signal } = options;
    const suffix = name === undefined ? "" : `.${name}`;
    // An earlier script of the build may have removed it.
    makeFolders(dirname(workspace), [basename(workspace)]);
    const { LABGEAR_PARAMETERS = "", LABGEAR_ARTIFACTS = "" } = env;
    const reportStrangers = strangers.watch(workspace);
    const ending = await runHost({
      script,
      scriptFile: join(build.folder, `script${suffix}`),
      cwd: workspace,
      belongings: [LABGEAR_PARAMETERS, LABGEAR_ARTIFACTS, ...belongings],
      place: {
        scratch: home?.folder ?? "",
        network: job.network,
        debug: job.debug,
        // A board may come back under other names while it is flashed.
        devices: build.record.device === undefined ? job.devices : "all",
      },
      env,
      graceMs,
      limits: job.limits,
      name: `${job.name}.${record.number}${suffix}`,
      trees,
      output: (chunk) => console.write(chunk),
      signal,
    });
    const [leftovers, survivors] = [masked(ending.leftovers), masked(ending.survivors)];
    if (leftovers.length > 0) record.leftovers = [...(record.leftovers ?? []), ...leftovers];
    if (survivors.length > 0) record.survivors = [...(record.survivors ?? []), ...survivors];
    warn(build, [
      ...ending.warnings,
      ...survivors.map(
        ({ pid, command }) =>
          `process ${pid} (${command}) can't be killed: its executor is held until it has ended`,
      ),
      ...(await reportStrangers(survivors)).map(secrets.mask),
    ]);
    return ending;
  };
}
