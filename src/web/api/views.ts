/** What the API answers and the pages show: the status, builds, their test reports, jobs and devices. */
import type { Build } from "#/builds/build.ts";
import { type Change, changeOf } from "#/builds/change.ts";
import type { BuildFilter } from "#/builds/filter.ts";
import type { TestReport } from "#/builds/junit.ts";
import { type BuildRecord, type BuildSummary, readCases } from "#/builds/record.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { type BuildEvent, foldOutages, type PastOutage } from "#/lib/board-history.ts";
import { artifactType } from "#/lib/media-type.ts";
import type { AgentStatus, BuildStatus, DeviceStatus } from "#/lib/status.ts";
import type { AgentView } from "../agent-view.ts";
import { RequestError, recordOf } from "../request.ts";
import { sanitize } from "../untrusted.ts";

/** /api/status, and all that the overview shows. */
export interface StatusView extends AgentStatus {
  readonly running: readonly RunningBuild[];
  readonly recent: readonly FinishedBuild[];
  readonly devices: readonly DeviceStatus[];
}

export interface RunningBuild extends BuildStatus {
  readonly node: string;
  readonly started?: string;
  /** Milliseconds that it should take from its start, estimated from earlier runs; absent if unknown. */
  readonly estimate?: number;
}

export type FinishedBuild = Omit<BuildSummary, "undelivered" | "request" | "key">;

/** /api/builds: one build of the list. */
export interface ListedBuild extends FinishedBuild {
  /** Absent if it has ended. */
  readonly running?: RunningBuild;
}

/** /api/builds/JOB/NUMBER: the record of a build, and its progress while it runs. The description is sanitized. */
export interface BuildView
  extends Omit<BuildRecord, "version" | "undelivered" | "request" | "key" | "artifacts"> {
  /** Absent if it has ended. */
  readonly running?: RunningBuild;
  readonly artifacts: readonly Artifact[];
  /** What it tests, as its parameters say. */
  readonly change?: Change;
}

export interface Artifact {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** The media type it is served with. */
  readonly type: string;
  /** It is older than the build. */
  readonly stale?: true;
}

/** /api/jobs/JOB: a job that is configured, or has builds. */
export interface JobView {
  readonly name: string;
  /** Absent if it is no longer configured. */
  readonly kind?: string;
  readonly nodes?: readonly string[];
  /** Counts only the builds that are still kept. */
  readonly builds: {
    readonly running: number;
    readonly finished: number;
    readonly passed: number;
    /** The number of the newest build, running or not. */
    readonly latest?: number;
  };
}

/** /api/devices/NAME: a device, and the offsets of its console. */
export interface DeviceView extends DeviceStatus {
  readonly feed: { readonly start: number; readonly end: number; readonly buildFrom?: number };
}

/** /api/devices/NAME/history: the newest first. */
export interface HistoryView {
  readonly outages: readonly PastOutage[];
  readonly builds: readonly BuildEvent[];
}

const maxRecentBuilds = 30;
const dayMs = 86_400_000;

export function statusView(agent: AgentView): StatusView {
  return {
    ...agent.status(),
    running: agent.builds.running.map((build) => runningBuild(agent, build)),
    recent: agent.builds.finished().slice(0, maxRecentBuilds).map(withoutInternals),
    devices: agent.devices(),
  };
}

export function runningBuild({ builds }: AgentView, { record, state, progress }: Build): RunningBuild {
  const { job, number, uuid, node, assigned, started, labels } = record;
  const estimate = builds.estimate(job, labels);
  return {
    ...{ job, number, uuid, node, phase: state.phase, progress, assigned },
    ...(started !== undefined && { started }),
    ...(estimate !== undefined && { estimate }),
  };
}

/** Running and finished builds, the newest first. */
export function listBuildViews(agent: AgentView, filter: BuildFilter): ListedBuild[] {
  return agent.builds.list(filter).map(({ summary, running }) => ({
    ...withoutInternals(summary),
    ...(running && { running: runningBuild(agent, running) }),
  }));
}

function withoutInternals({ undelivered: _, request: _1, key: _2, ...summary }: BuildSummary): FinishedBuild {
  return summary;
}

/** @throws RequestError 404 */
export async function buildView(agent: AgentView, found: FoundBuild): Promise<BuildView> {
  return viewOfRecord(agent, await recordOf(found), found.running);
}

export function viewOfRecord(agent: AgentView, record: BuildRecord, running?: Build): BuildView {
  const { version: _, undelivered: _1, request: _2, key: _3, description, artifacts = [], ...rest } = record;
  const console = running?.console;
  const change = changeOf(record.parameters, record.commit);
  return {
    ...rest,
    ...(change && { change }),
    ...(description !== undefined && { description: sanitize(description) }),
    ...(console && { console: { bytes: console.size, cut: console.cut } }),
    ...(running && running.state.phase !== "ended" && { running: runningBuild(agent, running) }),
    artifacts: artifacts.map(({ path, size, stale }) => ({
      ...{ path, size, type: artifactType(path) },
      ...(stale && { stale }),
    })),
  };
}

/** @returns undefined if the job has no test reports */
export async function readTestReport(found: FoundBuild): Promise<TestReport | undefined> {
  const { tests, warnings = [] } = await recordOf(found);
  if (!tests) return undefined;
  const cases = (await readCases(found.folder)) ?? [];
  const time = cases.reduce((sum, test) => sum + (Number(test.time) || 0), 0);
  return {
    // A time in the record also counts the cases that were not stored.
    totals: { time, ...tests },
    cases,
    warnings: warnings.filter((warning) => warning.includes("test report")),
  };
}

export function jobViews(agent: AgentView): JobView[] {
  const { builds } = agent;
  const running = builds.running.map(({ record }) => record);
  const finished = builds.finished();
  const configured = new Map(agent.jobs().map((job) => [job.name, job]));
  const names = new Set([...configured.keys(), ...[...running, ...finished].map(({ job }) => job)]);
  const finishedByJob = Map.groupBy(finished, ({ job }) => job);
  return [...names].map((name) => {
    const { kind, nodes } = configured.get(name) ?? {};
    const ended = finishedByJob.get(name) ?? [];
    const now = running.filter(({ job }) => job === name);
    const latest = Math.max(...[...now, ...ended].map(({ number }) => number));
    return {
      name,
      ...(kind !== undefined && { kind }),
      ...(nodes !== undefined && { nodes }),
      builds: {
        running: now.length,
        finished: ended.length,
        passed: ended.filter(({ ending }) => ending?.kind === "passed").length,
        ...(latest > 0 && { latest }),
      },
    };
  });
}

export async function historyView(agent: AgentView, name: string, days: number): Promise<HistoryView> {
  const events = await agent.history(name, Date.now() - days * dayMs);
  return {
    outages: foldOutages(events).toReversed(),
    builds: events.filter((event) => "build" in event).toReversed(),
  };
}

/** @throws RequestError 404 */
export function deviceView(agent: AgentView, name: string): DeviceView {
  const device = agent.devices().find((device) => device.name === name);
  const feed = agent.feed(name);
  if (!device || !feed) throw new RequestError(404, "no such device");
  const { start, end, buildFrom } = feed;
  return { ...device, feed: { start, end, ...(buildFrom !== undefined && { buildFrom }) } };
}
