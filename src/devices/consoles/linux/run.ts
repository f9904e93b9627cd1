/** Runs a script on a Linux board: sends it with a checksum, fetches its output in frames, and asks for its exit code until it is certain. */
import { formatDuration } from "#/lib/units.ts";
import { BoardFailure, RunTimeout } from "../../errors.ts";
import type { RunOptions, RunResult } from "../console.ts";
import type { Dialogue } from "../dialogue.ts";
import { dropOutput } from "./server.ts";
import { progressTimeoutMs, type Session } from "./session.ts";
import { Transfer } from "./transfer.ts";

/** Between two requests while there is no new output. */
const minPauseMs = 20;
const maxPauseMs = 400;
/** How long to wait for output after the script has ended, while a process that it started keeps the output open. */
const lingerMs = 1500;
/** After this long without a trace of the job, the board has lost it. */
const lostAfterMs = 3000;
/** The same for its exit code. A busy board takes a while to start what writes it. */
const unkeptAfterMs = 10_000;

/** @throws BoardFailure; RunTimeout */
export function* runScript(session: Session, script: string, options: RunOptions): Dialogue<RunResult> {
  const { board } = session.link;
  const end = board.now + options.timeoutMs;
  const name = `j.${session.link.token()}`;
  yield* session.writeFile(name, Buffer.from(script), true);
  const output = new Transfer(function* (bytes) {
    yield { kind: "output", bytes };
  });
  let pauseMs = minPauseMs;
  /** The time of the exit code, or of the last output after it. */
  let ended: number | undefined;
  /** Since when the board has had no trace of the job, or of its exit code. */
  let lost: number | undefined;
  let progress = board.now;
  for (;;) {
    if (board.now > end)
      throw new RunTimeout(`the script exceeded its timeout of ${formatDuration(options.timeoutMs)}`);
    const before = output.received;
    const words = yield* session.ask("o", output.request(), (frame) => output.take(frame), {
      retry: () => output.retry(),
    });
    const [state, segment, unit, code = "-", health = ""] = words;
    if (state === "full") throw session.noRoom();
    const isWhole = output.settle(Number(segment), Number(unit));
    const hasCode = /^\d{1,3}$/.test(code);
    if (hasCode && (ended === undefined || output.received > before)) ended = board.now;
    if (isWhole && ended !== undefined && hasCode) {
      const isOver = state === "wait" && board.now - ended > lingerMs;
      // Without the pump, no "end" follows.
      const isOrphaned = isOver && health.includes("dead");
      if (state === "end" || isOver) {
        if (isOver && !isOrphaned) yield* abandonOutput(session);
        const complete = !isOrphaned && !health.startsWith("lost");
        if (!complete) yield { kind: "note", text: lostOnBoard };
        return { code: Number(code), complete };
      }
    }
    const isEmptied = health.startsWith("lostdead") && code === "-";
    // A folder that can't be written keeps no code.
    const isUnkept = code === "" || (code === "-" && health.endsWith("deadgone"));
    lost = isEmptied || isUnkept ? (lost ?? board.now) : undefined;
    if (lost !== undefined && board.now - lost > (isEmptied ? lostAfterMs : unkeptAfterMs)) {
      if (!isEmptied) throw session.noRoom();
      const message = "the board has no trace of the script: its temporary folder was emptied";
      throw new BoardFailure("rebooted", message);
    }
    if (output.received > before || (state === "wait" && isWhole)) progress = board.now;
    if (board.now - progress > progressTimeoutMs)
      throw new BoardFailure("noise", "the board answers, but the script's output doesn't arrive undamaged");
    if (output.received > before) pauseMs = minPauseMs;
    else if (state === "wait") {
      pauseMs = Math.min(maxPauseMs, pauseMs * 1.4);
      yield* session.listen(pauseMs);
    }
  }
}

const lostOnBoard =
  "output was lost on the board: its temporary folder is full, or the process that collects the output was killed";

function* abandonOutput(session: Session): Dialogue<void> {
  const text =
    "a process that the script left running keeps the output open: the rest of its output is dropped";
  yield { kind: "note", text };
  yield* session.execute(dropOutput);
}
