/** Carries out one build on a device: reserves it, does the job's kind of work, and says how the board stood it. */
import { join } from "node:path";
import type { Ending } from "#/builds/ending.ts";
import { SinkFile, SourceFile } from "#/builds/workspace/files.ts";
import type { Device } from "#/devices/device.ts";
import { BoardFailure, DeviceError } from "#/devices/errors.ts";
import { openCapture } from "#/devices/port/capture.ts";
import { serverUrl } from "#/devices/port/source.ts";
import type { Outcome, Reservation } from "#/devices/reservation.ts";
import type { BoardRun, BoardVerdict } from "#/runners/board/board.ts";
import { runFirmware } from "#/runners/board/firmware.ts";
import { runShell } from "#/runners/board/shell.ts";
import { runSteps } from "#/runners/board/steps.ts";
import { boardEnding, type CarryOut, carryOut } from "./carry-out.ts";
import type { NodeContext } from "./context.ts";
import { scriptEnding } from "./host-build.ts";
import { Stage } from "./run-build.ts";

/** How long a script on the host may take to wind up, in milliseconds: a stop has its result within 5 s. */
const longestGrace = 2000;
/** How long a board may take to come back to its prompt when the build was stopped, in milliseconds. */
const interruptTime = 2000;

/** How a device carries out builds. */
export function onDevice(context: NodeContext, device: Device): CarryOut {
  return (build, job, parameters) =>
    carryOut(build, job, context, async () => {
      await build.open(context.config().builds.maxConsole);
      using reservation = await device.reserve(build.title, job.name, build.signal);
      await using _ = await openCapture(
        join(build.folder, "serial.capture"),
        reservation.port,
        reservation.from,
      );
      try {
        await using stage = await Stage.prepare(build, job, parameters, context, variables(device));
        const { ending, outcome } = await work(stage, reservation, device).catch((error) =>
          afterFailure(error, stage, reservation),
        );
        await stage.collect();
        if (!build.signal.aborted) reservation.release(outcome);
        return ending;
      } finally {
        if (build.signal.aborted) await interrupt(reservation);
      }
    });
}

/** What a script knows of the board that it has. */
function variables({ name, config, port }: Device): Record<string, string> {
  const { address } = config.port;
  const url = address.kind === "tty" ? port.path : serverUrl(address);
  return {
    LABGEAR_DEVICE: name,
    ...(url !== undefined && { LABGEAR_PORT: url }),
    LABGEAR_BAUD: String(config.port.baud),
  };
}

interface Done {
  readonly ending: Ending;
  readonly outcome: Outcome;
}

async function work(stage: Stage, reservation: Reservation, device: Device): Promise<Done> {
  const { job, build } = stage;
  const { work } = job;
  const grace = Math.min(job.grace, longestGrace);
  if (work.kind === "run") {
    await using _ = await reservation.lend();
    const signal = AbortSignal.any([build.signal, reservation.lost]);
    const ended = await stage.run(work.script, { grace, signal });
    if (!build.signal.aborted) reservation.lost.throwIfAborted();
    const ending = scriptEnding(ended);
    return { ending, outcome: { kind: "well", passed: ending.kind === "passed" } };
  }
  const run = boardRun(stage, reservation, device, grace);
  const verdict = await carry(run, work);
  if (verdict.junit !== undefined) await stage.report(verdict.junit);
  return { ending: verdictEnding(verdict), outcome: { kind: "well", passed: verdict.passed } };
}

function carry(run: BoardRun, work: Exclude<Stage["job"]["work"], { kind: "run" }>): Promise<BoardVerdict> {
  switch (work.kind) {
    case "shell":
      return runShell(run, work);
    case "steps":
      return runSteps(run, work.steps);
    case "firmware":
      return runFirmware(run, work);
  }
}

function boardRun(stage: Stage, reservation: Reservation, device: Device, grace: number): BoardRun {
  const { build, console, workspace } = stage;
  return {
    reservation,
    bootTimeoutMs: device.config.bootTimeout,
    signal: build.signal,
    output: (bytes) => console.write(bytes),
    note: (text) => console.note(text),
    progress: (percent) => {
      build.progress = percent;
    },
    host: (script, name) => {
      const signal = AbortSignal.any([build.signal, reservation.lost]);
      return stage.run(script, { name, grace, signal });
    },
    files: {
      source: (path) => SourceFile.open(workspace, path),
      sink: (path) => SinkFile.open(workspace, path),
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
 * What it means that the board failed; said on the console, with what it said last.
 * @throws the error, when it isn't the board's, or the build was stopped
 */
async function afterFailure(
  thrown: unknown,
  { build, console }: Stage,
  reservation: Reservation,
): Promise<Done> {
  const error = asBoardFailure(thrown);
  if (!(error instanceof BoardFailure) || build.signal.aborted) throw error;
  const ending = boardEnding(error);
  await console.note(`${ending.reason}\n[labgear] ${lastWords(reservation)}`);
  const kind = ending.kind === "infrastructure" ? "sick" : "doubtful";
  return { ending, outcome: { kind, reason: ending.reason } };
}

/** A port's error is one of the causes that a board can fail for. */
function asBoardFailure(error: unknown): unknown {
  if (!(error instanceof DeviceError)) return error;
  const cause = error.code === "PORT_BUSY" ? "port-busy" : "unplugged";
  return new BoardFailure(cause, error.message, { cause: error });
}

/** Ends what runs on the board, so that it isn't left at it until somebody else comes. */
async function interrupt(reservation: Reservation): Promise<void> {
  // What is brought back by power or reset needn't be asked.
  if (reservation.canRestart || reservation.lost.aborted) return;
  const signal = AbortSignal.any([AbortSignal.timeout(interruptTime + 500), reservation.lost]);
  await reservation.run(reservation.console.interrupt(interruptTime), { signal }).catch(() => false);
}

/** How much of what the board said last is shown, in bytes. */
const lastBytes = 2048;

/** What the board said last, as a line for each of its lines. */
function lastWords({ port, from }: Reservation): string {
  const { ring } = port;
  let text = "";
  for (let at = Math.max(from, ring.end - lastBytes); at < ring.end; ) {
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
