/** Makes the models of the pages. */

import type { Build } from "#/builds/build.ts";
import { consoleSize, openConsole } from "#/builds/console/follow.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { deviceView } from "../api/lab-views.ts";
import { artifactsOf, labStatus, runningBuild } from "../api/views.ts";
import { sanitize } from "../description.ts";
import { RequestError } from "../errors.ts";
import { recordOf } from "../find-build.ts";
import type { DeviceFeed, Lab } from "../lab.ts";
import { testReport } from "../test-report.ts";
import type {
  BuildModel,
  ConsoleTail,
  DeviceModel,
  DeviceTail,
  Frame,
  JobModel,
  OverviewModel,
} from "./models.ts";

/** How much of a console's end a page has in itself, in bytes. */
const tailSize = 64 * 1024;
/** How many builds a page lists. */
const listed = 50;

export function frame(lab: Lab): Frame {
  const { name, version } = lab.status();
  return { name, version, now: new Date().toISOString() };
}

export function overviewModel(lab: Lab): OverviewModel {
  const { running, recent, devices, ...status } = labStatus(lab);
  return { ...frame(lab), status, running, recent, devices };
}

/** @throws RequestError 404 */
export async function buildModel(lab: Lab, found: FoundBuild): Promise<BuildModel> {
  const { running, job, number } = found;
  const record = await recordOf(found);
  const tests = await testReport(found);
  const numbers = [
    ...lab.builds.finished(job).map((build) => build.number),
    ...lab.builds.running.flatMap((build) => (build.record.job === job ? [build.record.number] : [])),
  ];
  const older = Math.max(...numbers.filter((other) => other < number));
  const newer = Math.min(...numbers.filter((other) => other > number));
  return {
    ...frame(lab),
    record,
    ...(running && running.state.phase !== "ended" && { running: runningBuild(lab, running) }),
    ...(record.description !== undefined && { description: sanitize(record.description) }),
    artifacts: artifactsOf(record),
    ...(tests && { tests }),
    console: await consoleTail(found, running?.console?.cut ?? record.console?.cut ?? 0),
    ...(Number.isFinite(older) && { older }),
    ...(Number.isFinite(newer) && { newer }),
  };
}

async function consoleTail(found: FoundBuild, cut: number): Promise<ConsoleTail> {
  const file = await openConsole(found.folder);
  if (!file) return { bytes: 0, cut, tail: "", from: 0 };
  await using _ = file;
  const bytes = await consoleSize(file, found.running?.console);
  const from = Math.max(0, bytes - tailSize);
  const buffer = Buffer.alloc(bytes - from);
  const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
  return { bytes, cut, tail: buffer.toString("utf8", 0, bytesRead), from };
}

export function jobModel(lab: Lab, job: string, before: number | undefined): JobModel {
  const configured = lab.jobs().find(({ name }) => name === job);
  const all = lab.builds.finished(job);
  const running = lab.builds.running.filter(({ record }) => record.job === job);
  if (!configured && all.length === 0 && running.length === 0)
    throw new RequestError(404, "there is no such job, and no build of it");
  const older = all.filter(({ number }) => before === undefined || number < before);
  const builds = older.slice(0, listed);
  const last = older.length > listed ? builds.at(-1)?.number : undefined;
  return {
    ...frame(lab),
    job,
    ...(configured && {
      config: { kind: configured.kind, ...(configured.nodes && { nodes: configured.nodes }) },
    }),
    running: running.map((build) => runningBuild(lab, build)),
    builds,
    total: all.length,
    ...(last !== undefined && { before: last }),
  };
}

/** @throws RequestError 404 */
export async function deviceModel(lab: Lab, name: string): Promise<DeviceModel> {
  const { feed: _, ...device } = deviceView(lab, name);
  const feed = lab.feed(name);
  if (!feed) throw new RequestError(404, "there is no such device");
  const running = lab.builds.running.find(({ record }) => record.device === name);
  return {
    ...frame(lab),
    device,
    ...(running && runningOf(lab, running)),
    recent: lab.builds
      .finished()
      .filter(({ node }) => node === name)
      .slice(0, listed),
    console: await deviceTail(feed),
  };
}

function runningOf(lab: Lab, build: Build) {
  return { running: runningBuild(lab, build) };
}

async function deviceTail(feed: DeviceFeed): Promise<DeviceTail> {
  const { start, end, buildFrom } = feed;
  const split = buildFrom ?? end;
  const before: Uint8Array[] = [];
  const since: Uint8Array[] = [];
  const done = new AbortController();
  if (end > start) {
    for await (const { offset, bytes } of feed.follow(Math.max(start, end - tailSize), done.signal)) {
      const at = Math.max(0, Math.min(bytes.length, split - offset));
      before.push(bytes.subarray(0, at));
      since.push(bytes.subarray(at));
      if (offset + bytes.length >= end) break;
    }
  }
  done.abort();
  const text = (parts: readonly Uint8Array[]) => Buffer.concat(parts).toString("utf8");
  return {
    ...{ start, end, before: text(before), since: text(since) },
    ...(buildFrom !== undefined && { buildFrom }),
  };
}
