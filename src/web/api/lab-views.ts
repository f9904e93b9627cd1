/** What is told of jobs and devices. */
import type { DeviceStatus } from "#/lib/status.ts";
import { RequestError } from "../errors.ts";
import type { Lab } from "../lab.ts";

/** A job that is configured, or of which there are builds. */
export interface JobView {
  readonly name: string;
  /** Absent: it isn't configured any more. */
  readonly kind?: string;
  readonly nodes?: readonly string[];
  /** Of the builds that are kept. */
  readonly builds: {
    readonly running: number;
    readonly finished: number;
    readonly passed: number;
    /** The number of the newest, running or not. */
    readonly latest?: number;
  };
}

/** A device, and where its console is. */
export interface DeviceView extends DeviceStatus {
  readonly feed: { readonly start: number; readonly end: number; readonly buildFrom?: number };
}

export function jobViews(lab: Lab): JobView[] {
  const running = lab.builds.running.map(({ record }) => record);
  const finished = lab.builds.finished();
  const configured = new Map(lab.jobs().map((job) => [job.name, job]));
  const names = new Set([
    ...configured.keys(),
    ...running.map(({ job }) => job),
    ...finished.map(({ job }) => job),
  ]);
  const byJob = Map.groupBy(finished, ({ job }) => job);
  return [...names].map((name) => {
    const { kind, nodes } = configured.get(name) ?? {};
    const ended = byJob.get(name) ?? [];
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

/** @throws RequestError 404 */
export function deviceView(lab: Lab, name: string): DeviceView {
  const device = lab.devices().find((device) => device.name === name);
  const feed = lab.feed(name);
  if (!device || !feed) throw new RequestError(404, "there is no such device");
  const { start, end, buildFrom } = feed;
  return { ...device, feed: { start, end, ...(buildFrom !== undefined && { buildFrom }) } };
}
