/** Speaks with MicroPython: runs scripts through the raw REPL, with their output, exceptions and exit codes. */
import { BoardFailure, RunTimeout } from "../../errors.ts";
import type { Console, RunOptions, RunResult } from "../console.ts";
import { bootIn, crashIn } from "../crash.ts";
import type { Dialogue } from "../dialogue.ts";
import { Ear, output, overlap, printable } from "../expect.ts";
import { adler, literal, receiver, runner } from "./program.ts";
import { Repl, statementEnd } from "./repl.ts";

export interface MicropythonOptions {
  /** Eight characters from a-z and 0-9 that nobody can foretell. */
  readonly token: () => string;
}

/** Bytes of the script in one statement. */
const largestPiece = 48;
const tries = 8;
/** Milliseconds of silence until a script whose end seems to be there is asked for it; each time twice as many. */
const firstSilence = 250;
/** Milliseconds for a statement that only takes a piece. */
const patience = 3000;

/**
 * enter() gives the script a fresh interpreter (a soft reset); scripts of one session share its modules and hardware, and no names. What arrives
 * on the board is checked before it runs. The end of a script is told by a line with a token of ours, so nothing that it prints can pass for it, \x04
 * included. What a line loses of a script's own output nobody can tell: it has no checksum.
 */
export class MicropythonConsole implements Console {
  readonly kind = "micropython";
  readonly #token: () => string;
  readonly #ear = new Ear(() => {});
  readonly #repl = new Repl(this.#ear);
  /** Of the script that was started last. */
  #last: string | undefined;

  constructor(options: MicropythonOptions) {
    this.#token = options.token;
  }

  *enter(timeout: number): Dialogue<void> {
    const ear = this.#ear;
    yield* ear.read(0);
    const before = ear.heard;
    const end = ear.now + timeout;
    if ((yield* this.#repl.attach(timeout)) && (yield* this.#repl.softReset(end - ear.now))) {
      yield* this.#repl.probe();
      const token = this.#token();
      for (let attempt = 0; attempt < tries && ear.now < end; attempt += 1)
        if ((yield* this.#repl.ask(`print('${token}')`, 700))?.output === `${token}\r\n`) return;
    }
    throw ear.lost("MicroPython", before);
  }

  *interrupt(timeout: number): Dialogue<boolean> {
    yield* this.#ear.read(0);
    return yield* this.#repl.attach(timeout);
  }

  *run(script: string, options: RunOptions): Dialogue<RunResult> {
    const ear = this.#ear;
    yield* ear.read(0);
    const end = ear.now + options.timeout;
    const refused =
      (yield* this.#prepare(end)) ?? (yield* this.#send(Buffer.from(script.replaceAll("\r\n", "\n")), end));
    if (refused !== undefined) return yield* this.#refuse(refused);
    this.#last = this.#token();
    return yield* this.#follow(this.#last, end);
  }

  /** The job's fault, not the board's. */
  *#refuse(why: string): Dialogue<RunResult> {
    yield { kind: "note", text: `not run: ${why}` };
    return { code: 1, complete: true };
  }

  /** Brings bytes to the board, and sees that they are there. @returns why the board can't take them */
  *#send(bytes: Uint8Array, end: number): Dialogue<string | undefined> {
    const repl = this.#repl;
    for (let attempt = 0; attempt < tries; attempt += 1) {
      if (this.#ear.now >= end) throw new RunTimeout("the script takes too long to send");
      const ready = yield* repl.ask(`_lb=bytearray(${bytes.length})\n${receiver}`, patience);
      if (ready?.error.includes("MemoryError"))
        return `its ${bytes.length} bytes don't fit the board's memory`;
      if (ready?.error !== "" || !(yield* this.#pieces(bytes, end))) continue;
      // All of it at once: a piece may have been sent to the wrong place.
      const whole = yield* repl.ask("_lw(0,_lb)", patience + 2 * bytes.length);
      if (whole?.output === `${adler(bytes)}\r\n` && whole.error === "") return undefined;
    }
    throw new BoardFailure("noise", "what is sent to MicroPython doesn't arrive as it was");
  }

  *#pieces(bytes: Uint8Array, end: number): Dialogue<boolean> {
    for (let at = 0; at < bytes.length; at += largestPiece) {
      const piece = bytes.subarray(at, at + largestPiece);
      let arrived = false;
      for (let attempt = 0; attempt < tries && !arrived && this.#ear.now < end; attempt += 1) {
        const reply = yield* this.#repl.ask(`_lw(${at},${literal(piece)})`, patience);
        arrived = reply?.output === `${adler(piece)}\r\n` && reply.error === "";
      }
      if (!arrived) return false;
    }
    return true;
  }

  /** Has the runner defined, unless it is there from the script before. */
  *#prepare(end: number): Dialogue<string | undefined> {
    if (
      this.#last !== undefined &&
      (yield* this.#repl.ask("print(_ls[0])", patience))?.output === `${this.#last}\r\n`
    )
      return undefined;
    const refused = yield* this.#send(Buffer.from(runner), end);
    if (refused !== undefined) return refused;
    for (let attempt = 0; attempt < tries; attempt += 1) {
      const reply = yield* this.#repl.ask("exec(bytes(_lb))\nprint(_ls)", patience);
      if (reply?.error.includes("MemoryError")) return "the board has no memory left";
      if (reply?.error === "" && reply.output === "['', -1]\r\n") return undefined;
    }
    throw new BoardFailure("noise", "MicroPython doesn't answer as it should");
  }

  /** Starts the script, and gives its output on until it has ended. */
  *#follow(token: string, end: number): Dialogue<RunResult> {
    const ear = this.#ear;
    for (let attempt = 0; attempt < tries; attempt += 1) {
      ear.clear();
      yield* this.#repl.start(`_lr('${token}','${token}')`);
      const begun = yield* ear.until(new RegExp(`^(?:OK)?${token}<\\r\\n`), patience);
      if (begun) {
        ear.take(begun[0].length);
        return yield* this.#listen(token, end, true);
      }
      // Either it never began, or only the line that says so was damaged.
      if (ear.text !== "" && !statementEnd.test(ear.text)) return yield* this.#listen(token, end, false);
      const text = ear.text;
      if (text.includes("MemoryError"))
        return yield* this.#refuse("the board's memory doesn't hold the script");
      const code = yield* this.#state(token);
      if (code === undefined) continue;
      yield* output(text);
      return { code, complete: false };
    }
    throw new BoardFailure("noise", "MicroPython doesn't start the script");
  }

  *#listen(token: string, end: number, whole: boolean): Dialogue<RunResult> {
    const ear = this.#ear;
    const last = new RegExp(`^${token}:(\\d+):(\\d+)\\r\\n[^]*\\x04[^]*\\x04>$`);
    let tail = "";
    let lastCame = ear.now;
    let silence = firstSilence;
    for (;;) {
      const at = ear.text.indexOf(token);
      const held = at >= 0 ? ear.text.length - at : overlap(ear.text, token);
      const out = ear.take(ear.text.length - held);
      tail = (tail + out).slice(-400);
      yield* output(out);
      const [, code, check] = last.exec(ear.text) ?? [];
      if (code !== undefined && Number(code) + Number(check) === 65521) {
        ear.clear();
        return { code: Number(code), complete: whole };
      }
      if (yield* ear.read(Math.min(300, Math.max(0, end - ear.now)))) {
        lastCame = ear.now;
        continue;
      }
      this.#judge(tail + ear.text);
      // The line that says the end may be damaged, as the first one was, or as what else came with it gives away.
      if (ear.now - lastCame > silence && (!whole || /\d:\d|>$/.test(tail + ear.text))) {
        silence *= 2;
        const ended = yield* this.#ended(token);
        if (ended !== undefined) return { code: ended, complete: false };
      }
      if (ear.now >= end) throw new RunTimeout("the script takes too long");
    }
  }

  /** Asks how the script ended, without disturbing one that still runs. */
  *#ended(token: string): Dialogue<number | undefined> {
    const both = `\\['${token}', (\\d+)\\] \\['${token}', \\1\\]`;
    const found = yield* this.#repl.inquire("print(_ls,_ls)", both, 700);
    return found && Number(found[1]);
  }

  /** Asks whether the script ran, ending whatever runs. @returns its code; undefined: it never began */
  *#state(token: string): Dialogue<number | undefined> {
    for (let attempt = 0; attempt < tries; attempt += 1) {
      const reply = yield* this.#repl.ask("print(_ls,_ls)", patience);
      const [, name, code] = /^\['(\w*)', (-?\d+)\] \['\1', \2\]\r\n$/.exec(reply?.output ?? "") ?? [];
      if (code !== undefined) return name === token && code !== "-1" ? Number(code) : undefined;
    }
    throw new BoardFailure("noise", "MicroPython doesn't tell how the script ended");
  }

  /** A prompt of the other kind, and a greeting before it: the interpreter started anew. */
  #judge(tail: string): void {
    if (!tail.endsWith(">>> ")) return;
    const lines = tail.split("\n").map((line) => line.replace(/^\0+/, ""));
    const crash = lines.map(crashIn).find((line) => line !== undefined);
    if (crash) throw new BoardFailure("panic", `the board stopped: ${printable(crash)}`);
    if (lines.some((line) => bootIn(line) === "MicroPython" || line.startsWith("Adafruit CircuitPython ")))
      throw new BoardFailure("rebooted", "the board started anew in the middle of the script");
  }
}
