/** The console of a board that runs Linux: login, a private prompt, framed output, and files. */
import { BoardFailure, TransferError } from "../../errors.ts";
import type { Console, RunOptions, RunResult, Sink, Source } from "../console.ts";
import type { Dialogue } from "../dialogue.ts";
import { Hearing } from "../hearing.ts";
import { newTypingProfile, type TypingProfile } from "../typing.ts";
import type { Encoding } from "./framing.ts";
import { getFile } from "./get.ts";
import { type Login, logIn } from "./login.ts";
import { putFile } from "./put.ts";
import { runScript } from "./run.ts";
import { Session } from "./session.ts";
import { command, type Prepared, prepare, promptOf, resetTerminal, type Shell } from "./shell.ts";

export interface LinuxOptions {
  readonly login?: Login;
  /** The prompt before ours, when it isn't one of the usual ones. */
  readonly prompt?: string;
  /** What is known of how the device takes typing; it is brought up to date. */
  readonly profile?: TypingProfile;
  /** Eight characters from a-z and 0-9 that nobody can foretell. */
  readonly token: () => string;
}

/** Milliseconds for going back to the prompt in the middle of a conversation. */
const reviveTimeout = 90_000;
/** For starting our program. */
const startTimeout = 30_000;
/** For ending it. */
const closeTimeout = 2000;

export class LinuxConsole implements Console {
  readonly kind = "linux";
  readonly #options: LinuxOptions;
  readonly #shell: Shell;
  #prepared: Prepared | undefined;
  /** There while our program may run on the board. */
  #session: Session | undefined;

  constructor(options: LinuxOptions) {
    this.#options = options;
    const profile = options.profile ?? newTypingProfile();
    this.#shell = { hearing: new Hearing(), profile, id: options.token(), token: options.token };
  }

  *enter(timeout: number): Dialogue<void> {
    const { hearing } = this.#shell;
    yield* hearing.read(0);
    const until = hearing.now + timeout;
    hearing.settle();
    // A board that boots isn't spoken to: it could stop its boot loader, or choke a driver that isn't ready for it.
    const asks = this.#session !== undefined && hearing.boot.size === 0;
    if (this.#session && asks && (yield* this.#session.alive(1000))) yield* this.#close(this.#session);
    yield* this.#toPrompt(until);
    hearing.forget();
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

  *interrupt(timeout: number): Dialogue<boolean> {
    const { hearing } = this.#shell;
    yield* hearing.read(0);
    const until = hearing.now + timeout;
    hearing.forget();
    try {
      if (this.#session && (yield* this.#session.alive(Math.min(700, timeout)))) {
        yield* kill(this.#session, until);
        yield* this.#close(this.#session);
        return true;
      }
      const started = this.#session !== undefined;
      yield* this.#toPrompt(until);
      if (started) {
        const session = yield* this.#open();
        yield* kill(session, until);
        yield* this.#close(session);
      }
      return true;
    } catch (error) {
      if (error instanceof BoardFailure) return false;
      throw error;
    }
  }

  /** A transfer that can't be done leaves the board as well as before. */
  *#thenClose(session: Session, transfer: Dialogue<void>): Dialogue<void> {
    try {
      yield* transfer;
    } catch (error) {
      if (error instanceof TransferError) yield* this.#close(session);
      throw error;
    }
    yield* this.#close(session);
  }

  /** From any state to our prompt. What a conversation before had under way on the board stays there. */
  *#toPrompt(until: number): Dialogue<void> {
    const { hearing } = this.#shell;
    hearing.filter.echo = undefined;
    for (;;) {
      yield* this.#logIn(until);
      // A boot from here on means that the shell is gone.
      hearing.forget();
      try {
        this.#prepared = yield* prepare(this.#shell, until - hearing.now);
        this.#session = undefined;
        return;
      } catch (error) {
        const again = error instanceof BoardFailure && error.reason === "noise";
        if (!again || hearing.now >= until) throw error;
      }
    }
  }

  *#logIn(until: number): Dialogue<void> {
    const { hearing, token } = this.#shell;
    const { login, prompt } = this.#options;
    const word = token();
    yield* logIn({
      hearing,
      login,
      prompt,
      // The first word is for a terminal that doesn't know Ctrl-U, and makes it one word with it.
      probe: ` true;stty sane;echo lg''${word}`,
      answer: `lg${word}`,
      known: this.#prepared !== undefined,
      timeout: until - hearing.now,
    });
  }

  /** Starts our program. */
  *#open(): Dialogue<Session> {
    const prepared = this.#prepared;
    if (!prepared)
      throw new BoardFailure("noise", "the board's prompt wasn't reached before: enter the console first");
    const { hearing, profile, token } = this.#shell;
    yield* hearing.read(0);
    const key = token();
    const encoding = yield* this.#start(prepared, key, hearing.now + startTimeout);
    const revive = () => this.#revive(prepared, key);
    const prompt = promptOf(this.#shell);
    const session = new Session({
      hearing,
      profile,
      key,
      prompt,
      sum: prepared.sum,
      encoding,
      token,
      revive,
    });
    this.#session = session;
    return session;
  }

  /** Tries until its first words have come; when the shell takes no line any more, it is brought back first. */
  *#start(prepared: Prepared, key: string, until: number): Dialogue<Encoding> {
    const { hearing } = this.#shell;
    const up = new RegExp(`~${key}:up:(hex|base64):up:\\1`);
    const line = `sh ${prepared.folder}/s ${prepared.sum} ${key}`;
    for (;;) {
      try {
        return up.exec(yield* command(this.#shell, line, until, up))?.[1] === "hex" ? "hex" : "base64";
      } catch (error) {
        const again = error instanceof BoardFailure && error.reason === "noise";
        if (!again || hearing.now >= until) throw error;
      }
      yield* this.#toPrompt(until);
      this.#sameBoot(prepared);
    }
  }

  #sameBoot(prepared: Prepared): void {
    if (this.#prepared?.boot === prepared.boot) return;
    throw new BoardFailure("rebooted", "the board booted again in the middle of the work");
  }

  *#close(session: Session): Dialogue<void> {
    const { hearing, token } = this.#shell;
    let text = "";
    for (const until = hearing.now + closeTimeout; hearing.now < until && !this.#atPrompt(text); ) {
      yield* session.send("q", token(), [0, 0, 0, 0]);
      for (const next = hearing.now + closeTimeout / 4; hearing.now < next && !this.#atPrompt(text); ) {
        text = (text + (yield* hearing.read(next - hearing.now))).slice(-4096);
      }
    }
    hearing.filter.echo = undefined;
    this.#session = undefined;
  }

  #atPrompt(text: string): boolean {
    return text.includes(promptOf(this.#shell));
  }

  /** Our program doesn't answer: it was killed, the board is slow, somebody logged out, or the board has booted again. */
  *#revive(prepared: Prepared, key: string): Dialogue<void> {
    const { hearing } = this.#shell;
    const session = this.#session;
    const until = hearing.now + reviveTimeout;
    hearing.filter.echo = undefined;
    const booting = hearing.boot.size > 0;
    if (!booting) yield* hearing.write("\n");
    if (booting || !this.#atPrompt(yield* hearing.drain(300, 1500))) {
      hearing.filter.echo = `${key} `;
      if (session && (yield* session.alive(3000))) return;
      hearing.filter.echo = undefined;
      yield* this.#toPrompt(until);
      this.#sameBoot(prepared);
    }
    // It may have had no time to set the terminal right.
    yield* resetTerminal(this.#shell);
    yield* this.#start(prepared, key, until);
    this.#session = session;
    hearing.filter.echo = `${key} `;
  }
}

/** Ends the job's processes: the interrupt, then the request to end, then the kill. */
function* kill(session: Session, until: number): Dialogue<void> {
  const { hearing } = session.link;
  for (const signal of [2, 2, 15, 15, 9, 9, 9]) {
    const [, left] = yield* session.ask("k", [signal, 0, 0, 0]);
    if (left === "0" || hearing.now > until) return;
    yield* hearing.drain(150, 150);
  }
}
