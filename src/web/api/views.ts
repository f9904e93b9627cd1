/** What is told of builds and devices, by the pages and by the API alike. */

import type { Build } from "#/builds/build.ts";
import type { BuildRecord } from "#/builds/record.ts";
import { type BuildSummary, summarize } from "#/builds/record.ts";
import type { FoundBuild } from "#/builds/store.ts";
import type { AgentStatus, DeviceStatus } from "#/lib/status.ts";
import { sanitize } from "../description.ts";
import { recordOf } from "../find-build.ts";
import type { Lab } from "../lab.ts";
import { artifactType } from "../media-types.ts";
import type { ArtifactModel, RunningBuild } from "../pages/models.ts";

/** All of the overview: /api/status. */
export interface LabStatus extends AgentStatus {
  readonly running: readonly RunningBuild[];
  readonly recent: readonly BuildSummary[];
  readonly devices: readonly DeviceStatus[];
}

/** /api/builds/JOB/NUMBER: the record, and how far it is while it runs. The description is safe to be shown. */
export interface BuildView extends Omit<BuildRecord, "version" | "undelivered" | "artifacts"> {
  readonly running?: RunningBuild;
  readonly artifacts: readonly ArtifactModel[];
}

/** One build of a list. */
export interface ListedBuild extends Omit<BuildSummary, "undelivered"> {
  readonly running?: RunningBuild;
}

/** How many finished builds the overview shows. */
const recent = 30;

export function labStatus(lab: Lab): LabStatus {
  return {
    ...lab.status(),
    running: lab.builds.running.map((build) => runningBuild(lab, build)),
    recent: lab.builds.finished().slice(0, recent).map(told),
    devices: lab.devices(),
  };
}

export function runningBuild({ builds }: Lab, { record, state, progress }: Build): RunningBuild {
  const { job, number, uuid, node, assigned, started, labels } = record;
  const estimate = builds.estimate(job, labels);
  return {
    ...{ job, number, uuid, node, phase: state.phase, progress, assigned },
    ...(started !== undefined && { started }),
    ...(estimate !== undefined && { estimate }),
  };
}

/** Running and finished builds, the newest first. */
export function listedBuilds(lab: Lab, job?: string): ListedBuild[] {
  return lab.builds.list(job).map(({ summary, running }) => ({
    ...told(running ? summarize(running.record) : summary),
    ...(running && { running: runningBuild(lab, running) }),
  }));
}

/** Without what is the agent's own business. */
function told({ undelivered: _, ...summary }: BuildSummary): Omit<BuildSummary, "undelivered"> {
  return summary;
}

/** @throws RequestError 404 */
export async function buildView(lab: Lab, found: FoundBuild): Promise<BuildView> {
  return viewOf(lab, await recordOf(found), found.running);
}

export function viewOf(lab: Lab, record: BuildRecord, running?: Build): BuildView {
  const { version: _, undelivered: _1, description, artifacts, ...rest } = record;
  const console = running?.console;
  return {
    ...rest,
    ...(description !== undefined && { description: sanitize(description) }),
    ...(console && { console: { bytes: console.size, cut: console.cut } }),
    ...(running && running.state.phase !== "ended" && { running: runningBuild(lab, running) }),
    artifacts: artifactsOf(record),
  };
}

export function artifactsOf({ artifacts = [] }: BuildRecord): ArtifactModel[] {
  return artifacts.map(({ path, size }) => ({ path, size, type: artifactType(path) }));
}
