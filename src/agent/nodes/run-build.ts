/** What each build has on the host, on whatever node its work is done: workspace, checkout, environment, artifacts. */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { collectArtifacts } from "#/builds/artifacts.ts";
import type { Build } from "#/builds/build.ts";
import { checkout } from "#/builds/checkout/checkout.ts";
import type { ConsoleLog } from "#/builds/console/log.ts";
import { jobEnvironment } from "#/builds/environment.ts";
import { readJunit } from "#/builds/junit.ts";
import { prepareWorkspace, workspaceOf } from "#/builds/workspace/workspace.ts";
import type { JobConfig } from "#/config/model.ts";
import type { Output } from "#/runners/script/output.ts";
import type { HostEnding } from "#/runners/script/run.ts";
import { runHost } from "#/runners/script/run.ts";
import type { ProcessTrees } from "#/runners/trees/tree.ts";
import type { NodeContext } from "./context.ts";

/** The test cases that were read from a board's console, in the workspace and among the artifacts. */
const reportFile = "labgear-verdict.xml";

/** What a script on the host may differ in. */
export interface ScriptOptions {
  /** Names its file in the build's folder and its process tree; one after the other may have the same. */
  readonly name?: string;
  /** Milliseconds between SIGTERM and the kill; default: the job's. */
  readonly grace?: number;
  readonly signal?: AbortSignal;
  readonly output?: Output;
}

export class Stage implements AsyncDisposable {
  readonly build: Build;
  readonly job: JobConfig;
  readonly console: ConsoleLog;
  readonly workspace: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #trees: ProcessTrees;
  readonly #resources: AsyncDisposableStack;
  #hasReport = false;

  private constructor(
    base: { build: Build; job: JobConfig; console: ConsoleLog; workspace: string; trees: ProcessTrees },
    env: Readonly<Record<string, string>>,
    resources: AsyncDisposableStack,
  ) {
    this.build = base.build;
    this.job = base.job;
    this.console = base.console;
    this.workspace = base.workspace;
    this.#trees = base.trees;
    this.#env = env;
    this.#resources = resources;
  }

  /**
   * Makes everything ready, the checkout too; the build is then in the phase `running`.
   * @param own variables besides those that every build has
   * @throws BuildError, or the system's error
   */
  static async prepare(
    build: Build,
    job: JobConfig,
    parameters: ReadonlyMap<string, string>,
    context: NodeContext,
    own: Readonly<Record<string, string>> = {},
  ): Promise<Stage> {
    const console = build.console ?? (await build.open(context.config().builds.maxConsole));
    build.enter("preparing");
    await context.tryBox();
    const { executor } = workspaceOf(context.stateDir, build.record);
    const workspace = await prepareWorkspace({ stateDir: context.stateDir, executor, job: job.name });
    if (job.checkout) {
      build.record.commit = await checkOut(build, parameters, workspace, console, context.trees);
    }
    await using resources = new AsyncDisposableStack();
    const parametersFile = resources.use(await keepParameters(build, parameters));
    const { env, refused } = jobEnvironment({
      parameters,
      allowed: job.parameters,
      own: { ...ownVariables(build, workspace), ...own, LABGEAR_PARAMETERS: parametersFile.path },
    });
    warn(
      build,
      refused.map((name) => `not put into the environment: ${name}`),
    );
    build.enter("running");
    const base = { build, job, console, workspace, trees: context.trees };
    return new Stage(base, env, resources.move());
  }

  /**
   * Runs a script on the host, in the workspace, with its output on the build's console. What it leaves running is ended with it.
   * @throws RunnerError, or what the console threw
   */
  async run(script: string, options: ScriptOptions = {}): Promise<HostEnding> {
    const { build, job, console } = this;
    const { name, grace = job.grace, signal = build.signal } = options;
    const suffix = name === undefined ? "" : `.${name}`;
    const { LABGEAR_PARAMETERS = "", LABGEAR_ARTIFACTS = "" } = this.#env;
    const ending = await runHost({
      script,
      scriptFile: join(build.folder, `script${suffix}`),
      cwd: this.workspace,
      belongings: [LABGEAR_PARAMETERS, LABGEAR_ARTIFACTS],
      env: this.#env,
      grace,
      limits: job.limits,
      name: `${job.name}.${build.record.number}${suffix}`,
      trees: this.#trees,
      output: options.output ?? ((chunk) => console.write(chunk)),
      signal,
    });
    const { record } = build;
    if (ending.leftovers.length > 0) record.leftovers = [...(record.leftovers ?? []), ...ending.leftovers];
    if (ending.survivors.length > 0) record.survivors = [...(record.survivors ?? []), ...ending.survivors];
    warn(build, ending.warnings);
    return ending;
  }

  /**
   * A JUnit report of our own, beside the job's.
   * @throws the file system's error
   */
  async report(xml: string): Promise<void> {
    await rm(join(this.workspace, reportFile), { recursive: true, force: true });
    await writeFile(join(this.workspace, reportFile), xml, { flag: "wx" });
    await writeFile(join(this.build.folder, "artifacts", reportFile), xml);
    this.#hasReport = true;
  }

  /**
   * Keeps artifacts and test reports.
   * @throws the file system's error
   */
  async collect(): Promise<void> {
    const { build, job, console, workspace } = this;
    build.enter("collecting");
    // Also without globs: what the job itself put there is listed, and its links and devices are removed.
    const into = join(build.folder, "artifacts");
    const collected = await collectArtifacts({ workspace, globs: job.artifacts, into });
    build.record.artifacts = collected.files;
    warn(build, collected.warnings);
    const globs = this.#hasReport ? [...job.junit, reportFile] : job.junit;
    if (globs.length > 0) {
      const report = await readJunit({ workspace, globs });
      build.record.tests = report.totals;
      await writeFile(join(build.folder, "tests.json"), JSON.stringify(report.cases));
      warn(build, report.warnings);
    }
    for (const warning of build.record.warnings ?? []) await console.note(warning);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
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

function warn(build: Build, warnings: readonly string[]): void {
  if (warnings.length > 0) build.record.warnings = [...(build.record.warnings ?? []), ...warnings];
}
