/** What a board adds to a build: it is reserved, does the job's work over its console, and says how it fared. */
import { join } from "node:path";
import { buildVariables, jobEnvironment } from "#/builds/environment.ts";
import type { Ending } from "#/builds/record.ts";
import { SinkFile, SourceFile } from "#/builds/workspace/files.ts";
import { unlock } from "#/builds/workspace/unlock.ts";
import type { JobWork } from "#/config/model.ts";
import type { Device } from "#/devices/device.ts";
import { BoardFailure, DeviceError } from "#/devices/errors.ts";
import { openCapture } from "#/devices/port/capture.ts";
import type { Outcome, Reservation } from "#/devices/reservation.ts";
import { captureFile } from "#/lib/capture.ts";
import type { BoardRun, BoardVerdict } from "#/runners/board/board.ts";
import { runFirmware } from "#/runners/board/firmware.ts";
import { runShell } from "#/runners/board/shell.ts";
import { runSteps } from "#/runners/board/steps.ts";
import {
  type BuildHost,
  type BuildRequest,
  boardEnding,
  type JobOutcome,
  type ReservedBoard,
  scriptEnding,
} from "./run-build.ts";

/** A script on the host gets no longer grace than this: a stop on a board has its result within 5 s. */
const maxGraceMs = 2000;
/** How much of the board's last output is shown when it fails. */
const lastOutputBytes = 2048;

/**
 * Reserves the device for a build; waits while it is being made ready.
 * @throws BoardFailure when it can't be had; the stop's reason
 */
export async function reserveBoard(device: Device, { build, job }: BuildRequest): Promise<ReservedBoard> {
  await using resources = new AsyncDisposableStack();
  const reservation = resources.use(await device.reserve(build.title, job, build.signal));
  const { port, from } = reservation;
  resources.use(await openCapture(join(build.folder, captureFile), port, from));
  const held = resources.move();
  let outcome: Outcome | undefined;
  return {
    variables: device.variables,
    async run(host) {
      const done = await work(host, reservation, device).catch((error) => failed(error, host, reservation));
      // What a stop interrupted says nothing of the board, and decides nothing.
      if (build.signal.aborted) return { ending: { kind: "stopped", reason: "the job was stopped" } };
      outcome = done.outcome;
      return done;
    },
    async [Symbol.asyncDispose]() {
      if (outcome) reservation.release(outcome);
      else if (build.signal.aborted) reservation.abandon();
      await held.disposeAsync();
    },
  };
}

/** What a script on the board knows: the allowed parameters and our variables, but no path of the host. */
function onBoard({ build, job, parameters, workspace }: BuildHost, device: Device): Record<string, string> {
  const {
    LABGEAR_WORKSPACE: _workspace,
    LABGEAR_ARTIFACTS: _artifacts,
    WORKSPACE: _jenkins,
    ...own
  } = buildVariables(build, workspace);
  return jobEnvironment({
    parameters,
    allowed: job.parameters,
    own: { ...own, LABGEAR_DEVICE: device.name },
    base: {},
  }).env;
}

interface BoardOutcome extends JobOutcome {
  /** For the device's health. */
  readonly outcome: Outcome;
}

async function work(host: BuildHost, reservation: Reservation, device: Device): Promise<BoardOutcome> {
  const { build, job } = host;
  const graceMs = Math.min(job.graceMs, maxGraceMs);
  if (job.work.kind === "run") {
    build.step("run");
    const ended = await runLent(host, reservation, job.work.script, graceMs);
    if (!build.signal.aborted) reservation.lost.throwIfAborted();
    const ending = scriptEnding(ended);
    return { ending, outcome: { kind: "well", passed: ending.kind === "passed" } };
  }
  const verdict = await runOnBoard(job.work, boardRun(host, reservation, device, graceMs));
  return {
    ending: verdictEnding(verdict),
    outcome: { kind: "well", passed: verdict.passed },
    ...(verdict.junit !== undefined && { junit: verdict.junit }),
  };
}

/** The port may go away while the script runs, and has to be back afterwards. */
async function runLent(
  { build, runScript }: BuildHost,
  reservation: Reservation,
  script: string,
  graceMs: number,
) {
  await using _ = await reservation.lend(build.signal);
  return await runScript(script, { graceMs, signal: AbortSignal.any([build.signal, reservation.lost]) });
}

function runOnBoard(work: Exclude<JobWork, { kind: "run" }>, run: BoardRun): Promise<BoardVerdict> {
  switch (work.kind) {
    case "shell":
      return runShell(run, work);
    case "steps":
      return runSteps(run, work.steps);
    case "firmware":
      return runFirmware(run, work);
  }
}

function boardRun(host: BuildHost, reservation: Reservation, device: Device, graceMs: number): BoardRun {
  const { build, console, workspace, trees } = host;
  /** Once more, where a script of the job has closed it to the agent. */
  const withRights = async <F>(open: () => Promise<F | string>, path: string, what: "read" | "write") => {
    const file = await open();
    if (typeof file !== "string" || !file.endsWith(": EACCES") || !trees.apart) return file;
    await using _ = await unlock(trees, workspace, [path], { what, signal: build.signal });
    return await open();
  };
  return {
    reservation,
    variables: onBoard(host, device),
    bootTimeoutMs: device.config.bootTimeoutMs,
    signal: build.signal,
    output: (bytes) => console.write(bytes),
    note: (text) => console.note(text),
    progress: (percent) => {
      build.progress = percent;
    },
    step: (name) => build.step(name),
    host: (script, name) => {
      const signal = AbortSignal.any([build.signal, reservation.lost]);
      return host.runScript(script, { name, graceMs, signal });
    },
    files: {
      source: (path) => withRights(() => SourceFile.open(workspace, path), path, "read"),
      sink: (path) => withRights(() => SinkFile.open(workspace, path), path, "write"),
    },
  };
}

function verdictEnding({ passed, reason, exitCode, cause }: BoardVerdict): Ending {
  if (passed) return { kind: "passed", reason };
  const named = cause === undefined ? reason : `${cause}: ${reason}`;
  return {
    kind: "failed",
    reason: named,
    ...(exitCode !== undefined && { exitCode }),
    ...(cause && { cause }),
  };
}

/**
 * What the board's failure means; the console shows the board's last output.
 * @throws the error, when it isn't the board's, or the build was stopped
 */
async function failed(
  thrown: unknown,
  { build, console }: BuildHost,
  reservation: Reservation,
): Promise<BoardOutcome> {
  const error = asBoardFailure(thrown);
  if (!(error instanceof BoardFailure) || build.signal.aborted) throw error;
  const ending = boardEnding(error);
  await console.note(lastOutput(reservation));
  const { reason } = ending;
  if (ending.kind === "infrastructure") return { ending, outcome: { kind: "sick", reason } };
  const isBooting = error.reason === "panic" || error.reason === "rebooted";
  return { ending, outcome: { kind: "doubtful", reason, isBooting } };
}

/** A port's error is one of the causes that a board can fail for. */
function asBoardFailure(error: unknown): unknown {
  if (!(error instanceof DeviceError)) return error;
  const cause = error.code === "PORT_BUSY" ? "port-busy" : "unplugged";
  return new BoardFailure(cause, error.message, { cause: error });
}

/** The board's last lines, each behind a prefix of ours. */
function lastOutput({ port, from }: Reservation): string {
  const { ring } = port;
  let text = "";
  for (let at = Math.max(from, ring.end - lastOutputBytes); at < ring.end; ) {
    const chunk = ring.read(at);
    if (!chunk) break;
    text += Buffer.from(chunk.bytes).toString("latin1");
    at = chunk.offset + chunk.bytes.length;
  }
  const lines = text.split(/\r*\n/).map((line) => line.replaceAll(/[^ -~]/g, "."));
  const shown = lines.filter((line) => line.trim() !== "").slice(-12);
  if (shown.length === 0) return "the board said nothing";
  return ["what the board said last:", ...shown.map((line) => `  ${line.slice(0, 200)}`)].join(
    "\n[labgear] ",
  );
}
