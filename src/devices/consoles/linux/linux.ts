/** The console of a board that runs Linux: login, a prompt of our own, framed output, and files. */
import { BoardFailure, TransferError } from "../../errors.ts";
import type { Console, RunOptions, RunResult, Sink, Source } from "../console.ts";
import type { Dialogue } from "../dialogue.ts";
import { LinuxBoard } from "./board.ts";
import { getFile, putFile } from "./files.ts";
import type { Encoding } from "./framing.ts";
import { type KnownBoard, newKnownBoard } from "./known.ts";
import { type Login, type LoginOptions, logIn } from "./login.ts";
import { leaving, type Prepared, prepare, programSum, starting } from "./prepare.ts";
import { runScript } from "./run.ts";
import { type Decoder, Session } from "./session.ts";
import { command, promptOf, resetTerminal, type Shell, setTerminalLine } from "./shell.ts";

export interface LinuxOptions {
  readonly login?: Login;
  /** The board's own prompt, if it isn't one of the usual ones. */
  readonly prompt?: string;
  /** A boot without a prompt gets no input before this much silence. */
  readonly bootSilenceMs?: number;
  /** What earlier dialogues learned about the device; the console updates it. */
  readonly known?: KnownBoard;
  /** Returns eight unpredictable characters from a-z and 0-9. */
  readonly token: () => string;
}

/** For getting back to the prompt in the middle of a script. */
const reviveTimeoutMs = 90_000;
/** For starting and ending our program. */
const startTimeoutMs = 30_000;
const closeTimeoutMs = 2000;
const leaveTimeoutMs = 10_000;
/** After our shell has ended, the user's prints its prompt. */
const userPromptMs = 300;
/** For the prompt of a shell that stands at it, and of one that may. */
const knownPromptTimeoutMs = 5000;
const likelyPromptTimeoutMs = 1000;
/** For reading what the board printed before. */
const backlogTimeoutMs = 500;
const defaultBootSilenceMs = 15_000;

export class LinuxConsole implements Console {
  readonly kind = "linux";
  readonly #options: LinuxOptions;
  readonly #known: KnownBoard;
  #shell: Shell;
  #prepared: Prepared | undefined;
  /** Set while our program may run on the board. */
  #session: Session | undefined;
  /** Whether a shell has been half prepared. */
  #isPreparing = false;

  constructor(options: LinuxOptions) {
    this.#options = options;
    this.#known = options.known ?? newKnownBoard();
    const { typing: profile } = this.#known;
    this.#shell = { board: new LinuxBoard(), profile, id: options.token(), token: options.token };
  }

  *enter(timeoutMs: number, isRestarted = false): Dialogue<void> {
    const { board } = this.#shell;
    const first = yield* board.next(0);
    const text = first + (yield* board.drain(0, backlogTimeoutMs));
    const end = board.now + timeoutMs;
    if (isRestarted) this.#known.shell = undefined;
    const isAtPrompt = !isRestarted && this.#isAtKnownPrompt(text);
    if (isAtPrompt) board.boot.forget();
    else if (!isRestarted) board.boot.panicStartsBoot();
    // Input could stop the boot loader of a board that boots, or hang a driver that isn't ready for it.
    const isBooting = isRestarted || board.boot.lines.size > 0;
    if (this.#session && !isBooting && (yield* this.#session.alive(1000))) yield* this.#close(this.#session);
    // On a console that other programs print to, the prompt is out of sight.
    const mayBeAtPrompt = isAtPrompt || (!isBooting && /\n\s*$/.test(text));
    const promptTimeoutMs = isAtPrompt ? knownPromptTimeoutMs : likelyPromptTimeoutMs;
    if (!mayBeAtPrompt || !(yield* this.#returnToShell(promptTimeoutMs)))
      yield* this.#toPrompt(end, { text, isBooting });
    board.boot.forget();
  }

  #isAtKnownPrompt(text: string): boolean {
    const { shell } = this.#known;
    return shell !== undefined && text.endsWith(promptOf(shell));
  }

  /**
   * To the shell that the last dialogue left at our prompt, which no other shell prints. Its program is checked when it starts.
   * @returns false if the shell isn't there
   */
  *#returnToShell(timeoutMs: number): Dialogue<boolean> {
    const { shell } = this.#known;
    if (!shell) return false;
    this.#known.shell = undefined;
    const { board } = this.#shell;
    board.filter.echo = undefined;
    const prompt = promptOf(shell);
    // Somebody may have changed the terminal's settings.
    yield* board.send(`\x15${setTerminalLine}`);
    const answer = yield* board.readUntil((output) => output.includes(prompt), timeoutMs);
    if (!answer.includes(prompt) || board.boot.lines.size > 0) return false;
    this.#shell = { ...this.#shell, id: shell.id };
    this.#known.shell = shell;
    this.#prepared = shell.prepared;
    this.#session = undefined;
    return true;
  }

  *run(script: string, options: RunOptions): Dialogue<RunResult> {
    const session = yield* this.#open();
    const result = yield* runScript(session, script, options);
    yield* this.#close(session);
    return result;
  }

  *put(file: Source, to: string): Dialogue<void> {
    const session = yield* this.#open();
    yield* this.#thenClose(session, putFile(session, file, to));
  }

  *get(from: string, sink: Sink): Dialogue<void> {
    const session = yield* this.#open();
    yield* this.#thenClose(session, getFile(session, from, sink));
  }

  *interrupt(timeoutMs: number): Dialogue<boolean> {
    const { board } = this.#shell;
    yield* board.next(0);
    const end = board.now + timeoutMs;
    board.boot.panicStartsBoot();
    // What ran has ended, and input would disturb the boot.
    if (board.boot.lines.size > 0) return false;
    try {
      if (this.#session && (yield* this.#session.alive(Math.min(700, timeoutMs)))) {
        yield* kill(this.#session, end);
        yield* this.#close(this.#session);
        return true;
      }
      const mayRun = this.#session !== undefined;
      yield* this.#toPrompt(end);
      if (mayRun) {
        const session = yield* this.#open();
        yield* kill(session, end);
        yield* this.#close(session);
      }
      return true;
    } catch (error) {
      if (error instanceof BoardFailure) return false;
      throw error;
    }
  }

  leave(): Dialogue<void> | undefined {
    return this.#known.shell || this.#isPreparing ? this.#leave() : undefined;
  }

  *#leave(): Dialogue<void> {
    const { board, token } = this.#shell;
    yield* board.next(0);
    const end = board.now + leaveTimeoutMs;
    if (this.#isPreparing) {
      // Our program may be half typed.
      yield* board.send("\x03");
      yield* board.drain(userPromptMs, closeTimeoutMs);
      yield* this.#toPrompt(end);
    }
    const { shell } = this.#known;
    if (!shell || !(yield* this.#returnToShell(likelyPromptTimeoutMs))) return;
    const mark = token();
    yield* command(this.#shell, leaving(shell.prepared, mark), end, mark);
    this.#known.shell = undefined;
    this.#prepared = undefined;
    yield* board.drain(userPromptMs, closeTimeoutMs);
    if (!this.#known.isLoggedIn) return;
    this.#known.isLoggedIn = false;
    yield* board.send(" exit\n");
    yield* board.drain(userPromptMs, closeTimeoutMs);
  }

  get #bootSilenceMs(): number {
    return this.#options.bootSilenceMs ?? defaultBootSilenceMs;
  }

  /** A TransferError isn't the board's fault, so the session closes as usual. */
  *#thenClose(session: Session, transfer: Dialogue<void>): Dialogue<void> {
    try {
      yield* transfer;
    } catch (error) {
      if (error instanceof TransferError) yield* this.#close(session);
      throw error;
    }
    yield* this.#close(session);
  }

  /** From any state to our prompt. What the last dialogue left running on the board stays there. */
  *#toPrompt(end: number, found: Pick<LoginOptions, "text" | "isBooting"> = {}): Dialogue<void> {
    const { board } = this.#shell;
    board.filter.echo = undefined;
    for (;;) {
      yield* this.#logIn(end, found);
      // A boot from here on means that the shell is gone.
      board.boot.forget();
      try {
        this.#isPreparing = true;
        this.#prepared = yield* prepare(this.#shell, end - board.now);
        this.#isPreparing = false;
        this.#known.shell = { id: this.#shell.id, prepared: this.#prepared };
        this.#session = undefined;
        return;
      } catch (error) {
        if (!isNoise(error) || board.now >= end) throw error;
      }
    }
  }

  *#logIn(end: number, found: Pick<LoginOptions, "text" | "isBooting">): Dialogue<void> {
    const { board, token } = this.#shell;
    const { login, prompt } = this.#options;
    const word = token();
    if (found.isBooting) this.#known.isLoggedIn = false;
    const hasLoggedIn = yield* logIn({
      board,
      login,
      prompt,
      // A terminal that doesn't know Ctrl-U makes it a part of the first word.
      probe: ` true;stty sane;echo lg''${word}`,
      answer: `lg${word}`,
      known: this.#prepared !== undefined,
      bootSilenceMs: this.#bootSilenceMs,
      ...found,
      timeoutMs: end - board.now,
    });
    this.#known.isLoggedIn ||= hasLoggedIn;
  }

  /** Starts our program. */
  *#open(): Dialogue<Session> {
    const prepared = this.#prepared;
    if (!prepared)
      throw new BoardFailure("noise", "labgear isn't at the board's prompt: enter the console first");
    const { board, token } = this.#shell;
    yield* board.next(0);
    const key = token();
    const { encoding, decoder } = yield* this.#start(prepared, key, board.now + startTimeoutMs);
    const session = new Session({
      board,
      known: this.#known,
      key,
      prompt: promptOf(this.#shell),
      sum: prepared.sum,
      encoding,
      decoder,
      token,
      bootSilenceMs: this.#bootSilenceMs,
      revive: () => this.#revive(prepared, key),
    });
    this.#session = session;
    return session;
  }

  /** Tries until our program answers, and gets back to the prompt in between. */
  *#start(prepared: Prepared, key: string, end: number): Dialogue<{ decoder: Decoder; encoding: Encoding }> {
    const { board } = this.#shell;
    const { line, answer } = starting(prepared, key);
    for (;;) {
      try {
        const output = yield* command(this.#shell, line, end, answer);
        const [, decoder, encoding, sum] = answer.exec(output) ?? [];
        if (sum === programSum(prepared.sum))
          return { decoder: decoder as Decoder, encoding: encoding as Encoding };
      } catch (error) {
        if (!isNoise(error) || board.now >= end) throw error;
      }
      yield* this.#toPrompt(end);
      this.#throwIfRebooted(prepared);
    }
  }

  #throwIfRebooted(prepared: Prepared): void {
    if (this.#prepared?.bootId === prepared.bootId) return;
    throw new BoardFailure("rebooted", "the board rebooted in the middle of the script");
  }

  *#close(session: Session): Dialogue<void> {
    const { board, token } = this.#shell;
    const end = board.now + closeTimeoutMs;
    let output = "";
    while (board.now < end && !this.#hasPrompt(output)) {
      yield* session.send("q", token(), [0, 0, 0, 0]);
      const before = output.slice(-promptOf(this.#shell).length);
      output =
        before + (yield* board.readUntil((text) => this.#hasPrompt(before + text), closeTimeoutMs / 4));
    }
    board.filter.echo = undefined;
    this.#session = undefined;
  }

  #hasPrompt(text: string): boolean {
    return text.includes(promptOf(this.#shell));
  }

  /** Our program doesn't answer: it was killed, the board is slow, the shell has exited, or the board has rebooted. */
  *#revive(prepared: Prepared, key: string): Dialogue<void> {
    const { board } = this.#shell;
    const session = this.#session;
    const end = board.now + reviveTimeoutMs;
    board.filter.echo = undefined;
    const isBooting = board.boot.lines.size > 0;
    if (!isBooting) yield* board.send("\n");
    if (isBooting || !this.#hasPrompt(yield* board.drain(300, 1500))) {
      board.filter.echo = `${key} `;
      if (session && (yield* session.alive(3000))) return;
      board.filter.echo = undefined;
      yield* this.#toPrompt(end);
      this.#throwIfRebooted(prepared);
    }
    // A program that was killed leaves the terminal as it is.
    yield* resetTerminal(this.#shell);
    yield* this.#start(prepared, key, end);
    this.#session = session;
    board.filter.echo = `${key} `;
  }
}

function isNoise(error: unknown): boolean {
  return error instanceof BoardFailure && error.reason === "noise";
}

/** Signals the job's processes: SIGINT, then SIGTERM, then SIGKILL. */
function* kill(session: Session, end: number): Dialogue<void> {
  const { board } = session.link;
  for (const signal of [2, 2, 15, 15, 9, 9, 9]) {
    const [, left] = yield* session.ask("k", [signal, 0, 0, 0]);
    if (left === "0" || board.now > end) return;
    yield* board.drain(150, 150);
  }
}
