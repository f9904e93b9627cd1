/** The console of a board with MicroPython: runs scripts in the raw REPL, with their output, exceptions and exit codes. */
import { BoardFailure, RunTimeout } from "../../errors.ts";
import type { Console, RunOptions, RunResult } from "../console.ts";
import { bootIn, crashIn } from "../crash.ts";
import type { Dialogue } from "../dialogue.ts";
import { Expect, readable } from "../expect.ts";
import { adler, literal, receiver, runner } from "./program.ts";
import { Repl, statementEnd } from "./repl.ts";

export interface MicropythonOptions {
  /** Returns eight unpredictable characters from a-z and 0-9. */
  readonly token: () => string;
  /** What earlier dialogues left; the console updates it. */
  readonly known?: { isInRawRepl: boolean };
}

/** Bytes of a script that one statement carries. */
const maxPieceLength = 48;
const maxAttempts = 8;
/** After this much silence, a script that seems to have ended is asked whether it has. Doubled each time. */
const firstAskMs = 250;
/** For a statement that takes a piece of a script. */
const pieceTimeoutMs = 3000;
const askTimeoutMs = 700;

/**
 * enter() starts a fresh interpreter with a soft reset; the scripts of one session share its modules and hardware, but no names.
 * A script is checked on the board before it runs. A line with a random token marks its end, so nothing the script prints can pass
 * for it, not even \x04. A script's own output has no checksum: what the line loses of it goes unnoticed.
 */
export class MicropythonConsole implements Console {
  readonly kind = "micropython";
  /** Ctrl-B leaves the raw REPL. */
  readonly handOver = "\x02";
  readonly #token: () => string;
  readonly #known: { isInRawRepl: boolean };
  readonly #board = new Expect();
  readonly #repl = new Repl(this.#board);
  /** The token of the last script. */
  #last: string | undefined;

  constructor(options: MicropythonOptions) {
    this.#token = options.token;
    this.#known = options.known ?? { isInRawRepl: false };
  }

  *enter(timeoutMs: number): Dialogue<void> {
    const board = this.#board;
    yield* board.read(0);
    const before = board.received;
    const end = board.now + timeoutMs;
    this.#known.isInRawRepl = true;
    if ((yield* this.#repl.attach(timeoutMs)) && (yield* this.#repl.softReset(end - board.now))) {
      yield* this.#repl.probe();
      const token = this.#token();
      for (let attempt = 0; attempt < maxAttempts && board.now < end; attempt += 1)
        if ((yield* this.#repl.ask(`print('${token}')`, askTimeoutMs))?.output === `${token}\r\n`) return;
    }
    throw board.noPrompt("MicroPython", before, "\x03");
  }

  *interrupt(timeoutMs: number): Dialogue<boolean> {
    yield* this.#board.read(0);
    return yield* this.#repl.attach(timeoutMs);
  }

  /** To the friendly prompt; the names of our program go. A program that the board started meanwhile isn't interrupted. */
  leave(): Dialogue<void> | undefined {
    if (!this.#known.isInRawRepl) return undefined;
    this.#known.isInRawRepl = false;
    return this.#repl.leave();
  }

  *run(script: string, options: RunOptions): Dialogue<RunResult> {
    const board = this.#board;
    yield* board.read(0);
    const end = board.now + options.timeoutMs;
    const refused =
      (yield* this.#prepare(end)) ?? (yield* this.#send(Buffer.from(script.replaceAll("\r\n", "\n")), end));
    if (refused !== undefined) return yield* this.#refuse(refused);
    this.#last = this.#token();
    return yield* this.#follow(this.#last, end);
  }

  /** Ends the script: it is wrong, and the board isn't. */
  *#refuse(why: string): Dialogue<RunResult> {
    yield { kind: "note", text: `not run: ${why}` };
    return { code: 1, complete: true };
  }

  /** Brings bytes to the board, verified. @returns why the board can't take them */
  *#send(bytes: Uint8Array, end: number): Dialogue<string | undefined> {
    const repl = this.#repl;
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      if (this.#board.now >= end) throw new RunTimeout("sending the script exceeded its timeout");
      const ready = yield* repl.ask(`_lb=bytearray(${bytes.length})\n${receiver}`, pieceTimeoutMs);
      if (ready?.error.includes("MemoryError"))
        return `its ${bytes.length} bytes don't fit the board's memory`;
      if (ready?.error !== "" || !(yield* this.#sendPieces(bytes, end))) continue;
      // Each piece was right, but one may have gone to the wrong place.
      const whole = yield* repl.ask("_lw(0,_lb)", pieceTimeoutMs + 2 * bytes.length);
      if (whole?.output === `${adler(bytes)}\r\n` && whole.error === "") return undefined;
    }
    throw new BoardFailure("noise", "a script arrives at MicroPython damaged, again and again");
  }

  *#sendPieces(bytes: Uint8Array, end: number): Dialogue<boolean> {
    for (let at = 0; at < bytes.length; at += maxPieceLength) {
      const piece = bytes.subarray(at, at + maxPieceLength);
      let arrived = false;
      for (let attempt = 0; attempt < maxAttempts && !arrived && this.#board.now < end; attempt += 1) {
        const reply = yield* this.#repl.ask(`_lw(${at},${literal(piece)})`, pieceTimeoutMs);
        arrived = reply?.output === `${adler(piece)}\r\n` && reply.error === "";
      }
      if (!arrived) return false;
    }
    return true;
  }

  /** Defines the runner, unless the board still has it. @returns why the board can't take it */
  *#prepare(end: number): Dialogue<string | undefined> {
    if (
      this.#last !== undefined &&
      (yield* this.#repl.ask("print(_ls[0])", pieceTimeoutMs))?.output === `${this.#last}\r\n`
    )
      return undefined;
    const refused = yield* this.#send(Buffer.from(runner), end);
    if (refused !== undefined) return refused;
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      const reply = yield* this.#repl.ask("exec(bytes(_lb))\nprint(_ls)", pieceTimeoutMs);
      if (reply?.error.includes("MemoryError")) return "the board has no memory left";
      if (reply?.error === "" && reply.output === "['', -1]\r\n") return undefined;
    }
    throw new BoardFailure("noise", "MicroPython's answers are damaged, again and again");
  }

  /** Starts the script, and passes its output on until it has ended. */
  *#follow(token: string, end: number): Dialogue<RunResult> {
    const board = this.#board;
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      board.clear();
      yield* this.#repl.start(`_lr('${token}','${token}')`);
      const started = yield* board.expect(new RegExp(`^(?:OK)?${token}<\\r\\n`), pieceTimeoutMs);
      if (started) {
        board.take(started[0].length);
        return yield* this.#passOutput(token, end, true);
      }
      // Either it never started, or only the line that reports the start was damaged.
      if (board.buffer !== "" && !statementEnd.test(board.buffer))
        return yield* this.#passOutput(token, end, false);
      const text = board.buffer;
      if (text.includes("MemoryError"))
        return yield* this.#refuse("the board's memory can't hold the script");
      const code = yield* this.#exitCode(token);
      if (code === undefined) continue;
      board.buffer = text;
      yield* board.pass();
      return { code, complete: false };
    }
    throw new BoardFailure("noise", "MicroPython doesn't start the script");
  }

  /** @param complete whether nothing of the output is missing so far */
  *#passOutput(token: string, end: number, complete: boolean): Dialogue<RunResult> {
    const board = this.#board;
    const last = new RegExp(`^${token}:(\\d+):(\\d+)\\r\\n[^]*\\x04[^]*\\x04>$`);
    let tail = "";
    let lastCame = board.now;
    let askAfterMs = firstAskMs;
    for (;;) {
      const at = board.buffer.indexOf(token);
      tail += yield* board.pass(at >= 0 ? board.buffer.length - at : board.startOf(token));
      tail = tail.slice(-400);
      const [, code, check] = last.exec(board.buffer) ?? [];
      if (code !== undefined && Number(code) + Number(check) === 65521) {
        board.clear();
        return { code: Number(code), complete };
      }
      if (yield* board.read(Math.min(300, Math.max(0, end - board.now)))) {
        lastCame = board.now;
        continue;
      }
      throwIfRestarted(tail + board.buffer);
      // The line that reports the end may be damaged too, or what came with it looks like an end.
      const mayHaveEnded = !complete || /\d:\d|>$/.test(tail + board.buffer);
      if (board.now - lastCame > askAfterMs && mayHaveEnded) {
        askAfterMs *= 2;
        const ended = yield* this.#askEnded(token);
        if (ended !== undefined) return { code: ended, complete: false };
      }
      if (board.now >= end) throw new RunTimeout("the script exceeded its timeout");
    }
  }

  /** Asks a script that may still run, without disturbing it. @returns its exit code once it has ended */
  *#askEnded(token: string): Dialogue<number | undefined> {
    const both = `\\['${token}', (\\d+)\\] \\['${token}', \\1\\]`;
    const found = yield* this.#repl.inquire("print(_ls,_ls)", both, askTimeoutMs);
    return found && Number(found[1]);
  }

  /** Ends whatever runs, and asks how the script ended. @returns undefined when it never started */
  *#exitCode(token: string): Dialogue<number | undefined> {
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      const reply = yield* this.#repl.ask("print(_ls,_ls)", pieceTimeoutMs);
      const [, name, code] = /^\['(\w*)', (-?\d+)\] \['\1', \2\]\r\n$/.exec(reply?.output ?? "") ?? [];
      if (code !== undefined) return name === token && code !== "-1" ? Number(code) : undefined;
    }
    throw new BoardFailure("noise", "MicroPython doesn't report how the script ended");
  }
}

/** The interactive prompt after a banner means that the interpreter started again. */
function throwIfRestarted(tail: string): void {
  if (!tail.endsWith(">>> ")) return;
  const lines = tail.split("\n").map((line) => line.replace(/^\0+/, ""));
  const crash = lines.map(crashIn).find((line) => line !== undefined);
  if (crash) throw new BoardFailure("panic", `the board crashed: ${readable(crash)}`);
  if (lines.some((line) => bootIn(line) === "MicroPython" || line.startsWith("Adafruit CircuitPython ")))
    throw new BoardFailure("rebooted", "the board rebooted in the middle of the script");
}
