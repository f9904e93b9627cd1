/** What is kept of a build once its job has ended: artifacts and test reports. */
import { basename, dirname, join } from "node:path";
import { collectArtifacts, isDiskFailure } from "#/builds/artifacts.ts";
import type { Build } from "#/builds/build.ts";
import { readJunit } from "#/builds/junit.ts";
import { casesFile } from "#/builds/record.ts";
import type { BuildSecrets } from "#/builds/secrets.ts";
import { makeFolders } from "#/builds/workspace/files.ts";
import type { BuildPeriod } from "#/builds/workspace/period.ts";
import { unlock } from "#/builds/workspace/unlock.ts";
import type { BuildsConfig, JobConfig } from "#/config/model.ts";
import { replaceFile } from "#/lib/replace-file.ts";
import type { ProcessTrees } from "#/runners/trees/tree.ts";

/** The name of our own report among the artifacts. */
const junitFile = "labgear-verdict.xml";

/** For artifacts and test reports together. */
const collectTimeoutMs = 5 * 60 * 1000;
/** How long a stopped build goes on to collect: its ending goes out within a second of the end of its last process. */
const collectAfterStopMs = 500;

interface Collecting {
  readonly build: Build;
  readonly job: JobConfig;
  readonly workspace: string;
  readonly trees: ProcessTrees;
  readonly endPeriod: () => BuildPeriod;
  readonly secrets: BuildSecrets;
  /** A report of our own, beside the job's. */
  readonly junit?: string;
  readonly config: BuildsConfig;
}

/**
 * Keeps artifacts and test reports. What can't be kept is a warning: the job has ended, and with it its result is decided.
 * @throws the file system's error when the box's disk is full or fails
 */
export async function collect(collecting: Collecting): Promise<void> {
  const { build } = collecting;
  using deadline = collectDeadline(build);
  try {
    await collectFiles(collecting, deadline.signal);
  } catch (error) {
    if (isDiskFailure(error)) throw error;
    warn(build, [collecting.secrets.mask(`not everything can be kept: ${(error as Error).message}`)]);
  }
}

async function collectFiles(
  { build, job, workspace, trees, secrets, endPeriod, junit, config }: Collecting,
  signal: AbortSignal,
): Promise<void> {
  // A job that runs as the agent's user can remove it.
  makeFolders(dirname(build.folder), [basename(build.folder)]);
  const own = junit === undefined ? new Map() : new Map([[junitFile, junit]]);
  const period = endPeriod();
  const shared = { workspace, stale: job.stale, signal };
  const opened = <Kept extends Denied>(keep: (period: BuildPeriod) => Promise<Kept>) =>
    withRights(keep, { period, workspace, trees, signal });
  // Also without globs: what the job itself put there is listed, and its links and devices are removed.
  const collected = await opened((period) =>
    collectArtifacts({
      ...{ ...shared, period, own },
      globs: job.artifacts,
      into: build.artifactsFolder,
      limits: { maxFiles: config.maxArtifactFiles, maxBytes: config.maxArtifactsBytes },
    }),
  );
  build.record.artifacts = collected.files;
  warn(build, collected.warnings.map(secrets.mask));
  if (job.junit.length === 0 && junit === undefined) return;
  const report = await opened((period) =>
    readJunit({
      ...{ ...shared, period },
      globs: job.junit,
      limits: { maxFiles: config.maxReportFiles, maxFileBytes: config.maxReportBytes },
      ...(junit !== undefined && { own: junit }),
    }),
  );
  build.record.tests = report.totals;
  warn(build, report.warnings.map(secrets.mask));
  const masked = (_: string, value: unknown) => (typeof value === "string" ? secrets.mask(value) : value);
  await replaceFile(join(build.folder, casesFile), JSON.stringify(report.cases, masked));
}

interface Denied {
  readonly denied: ReadonlySet<string>;
}

/** Once more, where a job with a user of its own has closed files to all others. */
async function withRights<Kept extends Denied>(
  keep: (period: BuildPeriod) => Promise<Kept>,
  {
    period,
    workspace,
    trees,
    signal,
  }: Pick<Collecting, "workspace" | "trees"> & {
    readonly period: BuildPeriod;
    readonly signal: AbortSignal;
  },
): Promise<Kept> {
  const kept = await keep(period);
  if (kept.denied.size === 0 || !trees.apart || signal.aborted) return kept;
  await using unlocked = await unlock(trees, workspace, kept.denied, { signal });
  return await keep({ ...period, changed: unlocked.changed });
}

/** Ends the collecting when it takes too long, and soon after a stop; what is kept by then counts. */
function collectDeadline({ hurry }: Build): Disposable & { readonly signal: AbortSignal } {
  const soon = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const begin = () => {
    timer = setTimeout(() => soon.abort(), collectAfterStopMs);
  };
  if (hurry.aborted) begin();
  else hurry.addEventListener("abort", begin);
  return {
    signal: AbortSignal.any([soon.signal, AbortSignal.timeout(collectTimeoutMs)]),
    [Symbol.dispose]() {
      clearTimeout(timer);
      hurry.removeEventListener("abort", begin);
    },
  };
}

export function warn(build: Build, warnings: readonly string[]): void {
  if (warnings.length > 0)
    build.record.warnings = [...new Set([...(build.record.warnings ?? []), ...warnings])];
}
