/** One lease, from top to bottom: the board is reserved, the holder has it, and it has to prove itself afterwards. */
import { join } from "node:path";
import type { Build } from "#/builds/build.ts";
import type { ConsoleLog } from "#/builds/console/log.ts";
import type { Ending } from "#/builds/record.ts";
import type { Config } from "#/config/model.ts";
import type { Device } from "#/devices/device.ts";
import { BoardFailure, DeviceError } from "#/devices/errors.ts";
import { openCapture } from "#/devices/port/capture.ts";
import type { Control } from "#/devices/port/line.ts";
import type { Port } from "#/devices/port/port.ts";
import { idleLines } from "#/devices/power.ts";
import { type LeaseTerms, leaseJob } from "#/exchange/lease.ts";
import { captureFile } from "#/lib/capture.ts";
import type { JobReport } from "../job-report.ts";
import { boardEnding } from "../run-build.ts";
import { LeaseFiles } from "./files.ts";
import { Lease } from "./lease.ts";
import type { Leases } from "./leases.ts";
import { reportLines } from "./line-status.ts";
import { streamSerial } from "./serial-stream.ts";

export interface LeaseRequest {
  readonly build: Build;
  readonly terms: LeaseTerms;
  readonly report: JobReport;
}

/** Of the board's latest output, shown to the holder first. */
const maxRecentBytes = 4096;

export interface LeaseContext {
  readonly config: () => Config;
  readonly leases: Leases;
  readonly stateDir: string;
}

/**
 * @returns how it ended; a stop decides that ending whatever else came: see Build.end()
 */
export async function runLease(
  device: Device,
  request: LeaseRequest,
  { config, leases, stateDir }: LeaseContext,
): Promise<Ending> {
  const { build } = request;
  try {
    const console = await build.open(config().builds.maxConsoleBytes);
    await using files = await LeaseFiles.open(stateDir);
    const lease = new Lease({ ...request, device, files, maxMs: device.config.lease?.maxMs ?? 0 });
    // From here on the client has to be heard, also while the board is made ready.
    using _ = leases.add(lease);
    lease.announce();
    return await hold(device, lease, request, console);
  } catch (error) {
    return endingOf(error);
  }
}

async function hold(
  device: Device,
  lease: Lease,
  { build, terms, report }: LeaseRequest,
  console: ConsoleLog,
): Promise<Ending> {
  build.enter("preparing");
  // What a holder does to a board is as little known as what a change brings.
  const job = { name: leaseJob, trust: "changes" } as const;
  const reservation = await device.reserve(build.title, job, build.signal);
  const { port, from } = reservation;
  try {
    await using _capture = await openCapture(join(build.folder, captureFile), port, from);
    build.enter("running");
    await console.note(`${device.name} is held by ${terms.who}: ${terms.reason}`);
    const over = new AbortController();
    const signal = AbortSignal.any([build.signal, reservation.lost, over.signal]);
    await reservation.leave(signal);
    const { handOver } = reservation.console;
    if (handOver !== undefined) await reservation.writer.write(Buffer.from(handOver));
    lease.begin({ writer: reservation.writer, over: signal });
    const recent = Math.max(port.ring.start, from - maxRecentBytes);
    const showing = [
      streamSerial(feedOf(port), report, recent, signal).catch(() => {}),
      writeConsole(port, from, console, signal),
      reportLines(port, lease, signal),
    ];
    try {
      const reason = await lease.play(reservation, signal);
      return { kind: "passed", reason };
    } finally {
      over.abort();
      await Promise.all(showing);
    }
  } finally {
    lease.end();
    // A line that stays off may hold the board in reset.
    const idle: Control = { dtr: true, rts: true, ...idleLines(device.config) };
    for (const line of lease.changedLines)
      await reservation.writer.setControl({ [line]: idle[line] }).catch(() => {});
    reservation.endLease();
  }
}

function feedOf(port: Port) {
  return {
    ring: port.ring,
    onData(wake: () => void): Disposable {
      port.on("data", wake);
      return { [Symbol.dispose]: () => void port.off("data", wake) };
    },
  };
}

/** Never rejects: a disk that is full leaves the board to its holder. */
async function writeConsole(
  port: Port,
  from: number,
  console: ConsoleLog,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const { bytes } of port.follow(from, signal)) await console.write(bytes);
  } catch {
    // The capture and the client still have it.
  }
}

function endingOf(error: unknown): Ending {
  if (error instanceof BoardFailure) return boardEnding(error);
  if (error instanceof DeviceError) return { kind: "infrastructure", reason: error.message };
  // The signal's reason: a stop broke it off, and decides the ending.
  if (!(error instanceof Error)) return { kind: "stopped", reason: "the lease was stopped" };
  return { kind: "infrastructure", reason: error.message };
}
