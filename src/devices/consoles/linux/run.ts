/** A script on a Linux board: delivered with a checksum, its output pulled in frames, its exit code asked for until it is certain. */
import { formatDuration } from "#/lib/units.ts";
import { BoardFailure, RunTimeout } from "../../errors.ts";
import type { RunOptions, RunResult } from "../console.ts";
import type { Dialogue } from "../dialogue.ts";
import { Pull } from "../transfer.ts";
import { dropOutput, startJob } from "./server.ts";
import type { Session } from "./session.ts";

/** Milliseconds between two looks, while there is nothing new. */
const shortestPause = 100;
const longestPause = 400;
/** When the script has ended and something that it started keeps the output open, so long is waited for more of it. */
const linger = 1500;
/** A board that knows nothing of the job for so long has lost it. */
const forgotten = 3000;

/** @throws BoardFailure, RunTimeout */
export function* runScript(session: Session, script: string, options: RunOptions): Dialogue<RunResult> {
  const { hearing } = session.link;
  const until = hearing.now + options.timeout;
  const name = `j.${session.link.token()}`;
  yield* session.writeFile(name, Buffer.from(script));
  const started = yield* session.execute(startJob(name));
  if (started.code !== 0)
    throw new BoardFailure("mismatch", `the board can't start a script: ${started.output.trim()}`);
  const output = new Pull(function* (bytes) {
    yield { kind: "output", bytes };
  });
  let pause = shortestPause;
  /** When something was last new after the exit code. */
  let ended: number | undefined;
  /** Since when the board knows nothing of the job. */
  let gone: number | undefined;
  for (;;) {
    if (hearing.now > until)
      throw new RunTimeout(`the script takes longer than ${formatDuration(options.timeout)}`);
    const before = output.received;
    const words = yield* session.ask("o", output.request(), (frame) => output.take(frame), {
      again: () => output.retry(),
    });
    const [state, segment, place, code = "-", health = ""] = words;
    const whole = output.settle(Number(segment), Number(place));
    if (code !== "-" && (ended === undefined || output.received > before)) ended = hearing.now;
    if (whole && ended !== undefined && /^\d{1,3}$/.test(code)) {
      // Its last look may have come just before its end.
      const orphaned = state === "wait" && health.endsWith("dead") && hearing.now - ended > linger;
      const abandoned = state === "wait" && !orphaned && hearing.now - ended > linger;
      if (state === "end" || orphaned || abandoned) {
        if (abandoned) yield* abandon(session);
        const complete = !orphaned && !health.startsWith("lost");
        if (!complete) yield { kind: "note", text: lostOnBoard };
        return { code: Number(code), complete };
      }
    }
    gone = health === "lostdead" && code === "-" ? (gone ?? hearing.now) : undefined;
    if (gone !== undefined && hearing.now - gone > forgotten) {
      throw new BoardFailure(
        "rebooted",
        "the board has nothing left of the script: its temporary folder was emptied",
      );
    }
    if (output.received > before) pause = shortestPause;
    else if (state === "wait") {
      pause = Math.min(longestPause, pause * 1.3);
      yield* session.listen(pause);
    }
  }
}

const lostOnBoard =
  "output was lost on the board: its temporary folder is full, or what collects the output was killed";

function* abandon(session: Session): Dialogue<void> {
  yield {
    kind: "note",
    text: "a process that the script left running has the output open: what it still writes is dropped",
  };
  yield* session.execute(dropOutput);
}
