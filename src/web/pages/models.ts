/** What the pages show: made by the server for each request, all of it plain data. */

import type { TestReport } from "#/builds/junit.ts";
import type { BuildRecord, BuildSummary } from "#/builds/record.ts";
import type { AgentStatus, BuildStatus, DeviceStatus } from "#/lib/status.ts";

/** What stands around every page. */
export interface Frame {
  /** The agent's name. */
  readonly name: string;
  readonly version: string;
  /** ISO 8601: what "3 minutes ago" counts from. */
  readonly now: string;
}

/** A build that hasn't ended. */
export interface RunningBuild extends BuildStatus {
  readonly node: string;
  readonly started?: string;
  /** Milliseconds that it is expected to take from its start, by earlier runs; absent: not known. */
  readonly estimate?: number;
}

export interface OverviewModel extends Frame {
  readonly status: AgentStatus;
  readonly running: readonly RunningBuild[];
  /** Finished ones of all jobs, the newest first; some 30 of them. */
  readonly recent: readonly BuildSummary[];
  readonly devices: readonly DeviceStatus[];
}

export interface BuildModel extends Frame {
  readonly record: BuildRecord;
  /** Absent: it has ended. */
  readonly running?: RunningBuild;
  /** HTML, sanitised. */
  readonly description?: string;
  readonly artifacts: readonly ArtifactModel[];
  /** Absent: the job has no reports. */
  readonly tests?: TestReport;
  readonly console: ConsoleTail;
  /** Numbers of the builds of this job before and after it. */
  readonly older?: number;
  readonly newer?: number;
}

export interface ArtifactModel {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** The media type it is served with. */
  readonly type: string;
}

/** The end of a console, for readers without script. */
export interface ConsoleTail {
  /** Of the whole console. */
  readonly bytes: number;
  /** Bytes that weren't kept after it was full. */
  readonly cut: number;
  /** The last 64 KiB at most, as UTF-8 with U+FFFD. */
  readonly tail: string;
  /** The offset of the tail's first byte. */
  readonly from: number;
}

export interface DeviceModel extends Frame {
  readonly device: DeviceStatus;
  /** The build that runs on it. */
  readonly running?: RunningBuild;
  /** Finished ones on it, the newest first. */
  readonly recent: readonly BuildSummary[];
  readonly console: DeviceTail;
}

export interface DeviceTail {
  /** The offsets of the oldest byte that is kept, and of the next to come. */
  readonly start: number;
  readonly end: number;
  /** Where the build that runs began. */
  readonly buildFrom?: number;
  /** The last 64 KiB at most, before and since `buildFrom` (all in `before` while none runs). */
  readonly before: string;
  readonly since: string;
}

export interface JobModel extends Frame {
  readonly job: string;
  /** As it is configured; absent: it isn't any more. */
  readonly config?: { readonly kind: string; readonly nodes?: readonly string[] };
  readonly running: readonly RunningBuild[];
  /** Finished ones, the newest first. */
  readonly builds: readonly BuildSummary[];
  /** How many are kept in all. */
  readonly total: number;
  /** For `?before=`: the number from which older builds follow; absent: these were the last. */
  readonly before?: number;
}
