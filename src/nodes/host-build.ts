/** Carries out one build on the host: workspace, checkout, script, artifacts, test reports. */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { collectArtifacts } from "#/builds/artifacts.ts";
import type { Build } from "#/builds/build.ts";
import { checkout } from "#/builds/checkout.ts";
import type { ConsoleLog } from "#/builds/console.ts";
import type { Ending } from "#/builds/ending.ts";
import { jobEnvironment } from "#/builds/environment.ts";
import { BuildError } from "#/builds/errors.ts";
import { readJunit } from "#/builds/junit.ts";
import { prepareWorkspace } from "#/builds/workspace.ts";
import type { JobConfig } from "#/config/model.ts";
import { runHost } from "#/runners/host.ts";
import type { HostEnding } from "#/runners/runner.ts";
import type { ProcessTrees } from "#/runners/tree.ts";
import type { NodeContext } from "./context.ts";

/**
 * Runs the job to its end, or until the build's signal is aborted.
 * @param parameters as the client sent them, nothing masked
 * @returns how the work ended; a stop that was asked for counts more, see Build.end()
 */
export async function runHostBuild(
  build: Build,
  job: JobConfig,
  parameters: ReadonlyMap<string, string>,
  context: NodeContext,
): Promise<Ending> {
  const timeout = setTimeout(() => {
    build.stop({ kind: "timed-out", reason: `the job's timeout of ${job.timeout / 1000} s ran out` });
  }, job.timeout);
  try {
    return await carryOut(build, job, parameters, context);
  } catch (error) {
    // A refused checkout is the change's own fault, and running it again elsewhere would end the same way.
    const kind =
      error instanceof BuildError && error.code === "CHECKOUT_REFUSED" ? "failed" : "infrastructure";
    const trouble = context.troubleOf(error);
    if (trouble) context.onTrouble(trouble);
    const reason = trouble ?? (error as Error).message.split("\n", 1)[0] ?? "";
    await build.console?.note(reason).catch(() => {});
    return { kind, reason };
  } finally {
    clearTimeout(timeout);
  }
}

async function carryOut(
  build: Build,
  job: JobConfig,
  parameters: ReadonlyMap<string, string>,
  context: NodeContext,
): Promise<Ending> {
  const console = await build.open(context.config().builds.maxConsole);
  build.enter("preparing");
  await context.tryBox();
  const workspace = await prepareWorkspace({
    stateDir: context.stateDir,
    executor: String(build.record.executor),
    job: job.name,
  });
  if (job.checkout) {
    build.record.commit = await checkOut(build, parameters, workspace, console, context.trees);
  }
  await using parametersFile = await keepParameters(build, parameters);
  const { env, refused } = jobEnvironment({
    parameters,
    allowed: job.parameters,
    own: { ...ownVariables(build, workspace), LABGEAR_PARAMETERS: parametersFile.path },
  });
  warn(
    build,
    refused.map((name) => `not put into the environment: ${name}`),
  );
  build.enter("running");
  const ending = await runHost({
    script: job.run,
    scriptFile: join(build.folder, "script"),
    cwd: workspace,
    env,
    grace: job.grace,
    limits: job.limits,
    name: `${job.name}.${build.record.number}`,
    trees: context.trees,
    output: (chunk) => console.write(chunk),
    signal: build.signal,
  });
  if (ending.leftovers.length > 0) build.record.leftovers = ending.leftovers;
  if (ending.survivors.length > 0) build.record.survivors = ending.survivors;
  warn(build, ending.warnings);
  build.enter("collecting");
  await collect(build, job, workspace, console);
  return verdict(ending);
}

/** How the build ends by how its script did. */
function verdict({ stopped, oom, signal, code }: HostEnding): Ending {
  if (stopped) return { kind: "stopped", reason: "the job was stopped" };
  if (oom) return { kind: "failed", reason: "the job ran out of the memory that its limits allow" };
  if (signal) return { kind: "failed", reason: `the job was ended by ${signal}`, signal };
  if (code === 0) return { kind: "passed", reason: "the job passed" };
  const reason = `the job ended with exit code ${code}`;
  return { kind: "failed", reason, ...(code !== null && { exitCode: code }) };
}

/** Checks the change out, with git in a process tree of its own: not even a crash of the agent leaves it running. */
async function checkOut(
  build: Build,
  parameters: ReadonlyMap<string, string>,
  workspace: string,
  console: ConsoleLog,
  trees: ProcessTrees,
): Promise<string> {
  await using tree = await trees.create(`${build.record.job}.${build.record.number}.git`, {}, workspace);
  const launch = ([program = "git", ...rest]: readonly string[]) => {
    const { file, args, env } = tree.launch([program, ...rest]);
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    // What the launcher can't do it says on descriptor 3: here among what git says.
    return ["env", ...variables, "/bin/sh", "-c", 'exec "$@" 3>&2', "labgear-git", file, ...args];
  };
  const log = (line: string) => console.note(line);
  return (await checkout({ workspace, parameters, log, launch, signal: build.signal })).commit;
}

/** What a job's script knows of its build, under labgear's names and under those of Jenkins. */
function ownVariables(build: Build, workspace: string): Record<string, string> {
  const { job, number, uuid, url, node, target, labels, executor } = build.record;
  return {
    LABGEAR_JOB: job,
    LABGEAR_BUILD: String(number),
    LABGEAR_UUID: uuid,
    LABGEAR_URL: url,
    LABGEAR_NODE: node,
    LABGEAR_CLASS: target ?? labels[0] ?? node,
    LABGEAR_WORKSPACE: workspace,
    LABGEAR_ARTIFACTS: join(build.folder, "artifacts"),
    JOB_NAME: job,
    BUILD_NUMBER: String(number),
    BUILD_URL: url,
    NODE_NAME: node,
    WORKSPACE: workspace,
    EXECUTOR_NUMBER: String(executor),
  };
}

/** All parameters as a JSON file that only the job's user can read; gone with the build, as there may be secrets in it. */
async function keepParameters(
  build: Build,
  parameters: ReadonlyMap<string, string>,
): Promise<AsyncDisposable & { readonly path: string }> {
  const path = join(build.folder, "parameters.json");
  await writeFile(path, JSON.stringify(Object.fromEntries(parameters), null, 2), { mode: 0o600 });
  return { path, [Symbol.asyncDispose]: () => rm(path, { force: true }) };
}

async function collect(build: Build, job: JobConfig, workspace: string, console: ConsoleLog): Promise<void> {
  // Also without globs: what the job itself put there is listed, and its links and devices are removed.
  const into = join(build.folder, "artifacts");
  const collected = await collectArtifacts({ workspace, globs: job.artifacts, into });
  build.record.artifacts = collected.files;
  warn(build, collected.warnings);
  if (job.junit.length > 0) {
    const report = await readJunit({ workspace, globs: job.junit });
    build.record.tests = report.totals;
    await writeFile(join(build.folder, "tests.json"), JSON.stringify(report.cases));
    warn(build, report.warnings);
  }
  for (const warning of build.record.warnings ?? []) await console.note(warning);
}

function warn(build: Build, warnings: readonly string[]): void {
  if (warnings.length > 0) build.record.warnings = [...(build.record.warnings ?? []), ...warnings];
}
