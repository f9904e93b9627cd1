/** From any state of a board to a shell that answers: through a boot, a login, and whatever an earlier user left running. */
import { shown } from "#/lib/text.ts";
import { BoardFailure } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import { compilePattern } from "../matcher.ts";
import { promptTest } from "../prompt.ts";
import type { LinuxBoard } from "./board.ts";
import { type Asks, asks, lastLine, refusalIn } from "./prompts.ts";
import { questionIn, ubootIn, wayOut } from "./standing.ts";

export interface Login {
  readonly user: string;
  readonly password?: string;
  /** The board's own prompts, if they aren't usual ones. */
  readonly prompts?: { readonly login?: string; readonly password?: string };
  /** Answers to what else the board asks before its shell. */
  readonly answers?: readonly { readonly expect: string; readonly send: string }[];
}

/** The end of the usual shell prompts. */
const shellPrompt = /(?:^|\n)[^\n]{0,200}[#$%>] ?$/;

/** Silence before something is sent. */
const silenceMs = 2000;
const shortSilenceMs = 800;
/** After text that looks like a prompt. */
const promptSilenceMs = 200;
/** On a board whose shell was ours before. */
const knownSilenceMs = 300;
/** During a login: a refusal takes its time. */
const loginSilenceMs = 6000;
/** For so long after a login, a slow profile may run, and gets Enter only. */
const profileTimeoutMs = 30_000;
/** Output that doesn't end may be a command's, or a boot's. After this long, it gets a nudge anyway. */
const cautiousFloodMs = 30_000;
const floodMs = 5000;
/** Lines that repeat are a daemon's, not a boot's: they soon get a line end and the probe. */
const steadyFloodMs = 2000;
const knownFloodMs = 2000;
/** A key would stop it. */
const countdown = /\b(?:any key|auto-?boot\w*|automatically|boot(?:ing)? in|in \d+ ?s(?:ec\w*)?)\b/i;
const startingUp = /\[ {0,2}OK {0,2}\]|\bstarting\b/i;
/** So soon after sending, text is an echo. */
const echoMs = 300;
const maxTextLength = 4096;
/** Of one question in a login: a board that repeats it doesn't take the answer. */
const maxAnswers = 3;

/** Ways out of what may hold the terminal, the mildest first. Ctrl-U comes first so that no half-typed line runs. */
const enterKey = "\n";
const gentle = "\x15\n"; // a prompt that was printed before
const nudges = [
  gentle,
  "\x11\x03", // stopped output; a running command, an open quote, a here-document
  "\x1c", // a command that ignores the interrupt
  "\x1b\x1b:q!\n", // vi
  "q", // less
  "\x04", // a command that reads to the end of its input
  "\x03\x15\n",
];

export interface LoginOptions {
  readonly board: LinuxBoard;
  readonly login: Login | undefined;
  /** Makes a shell print `answer`; its echo doesn't contain the answer. */
  readonly probe: string;
  readonly answer: string;
  /** The board's own prompt, besides the usual ones. */
  readonly prompt: string | undefined;
  /** Whether the board's shell was ours before. */
  readonly known?: boolean;
  /** Whether the board was just restarted, or panicked, even if it hasn't printed a line of its boot yet. */
  readonly isBooting?: boolean;
  /** A boot without a prompt gets no input before this much silence: input could stop its boot loader, or hang a driver. */
  readonly bootSilenceMs: number;
  /** What the board printed last. */
  readonly text?: string;
  readonly timeoutMs: number;
}

/**
 * @returns whether a name was typed, so that the session is ours
 * @throws BoardFailure
 */
export function* logIn(options: LoginOptions): Dialogue<boolean> {
  const { board, login, probe, answer, prompt, known = false, bootSilenceMs, timeoutMs } = options;
  const receivedBefore = board.received;
  const end = board.now + timeoutMs;
  const isShellPrompt = prompt === undefined ? undefined : promptTest(prompt);
  let text = options.text ?? "";
  let nudge = 0;
  let floods = 0;
  /** For the reason why there is no shell. */
  let sent = "";
  let refusals = 0;
  const questions = new Questions(login);
  /** What was sent last. A prompt that comes again after its answer may be a shell's that looks like it. */
  let last: "name" | "password" | "answer" | "probe" | "nudge" | undefined;
  /** Whether a name or password was sent that may still be refused. */
  let mayBeRefused = false;
  /** The prompt at which the name was typed. */
  let namePrompt: string | undefined;
  /** Whether the name arrived as it was typed, at a prompt at which nothing can have stood before. */
  let isNameRight = false;
  let isAsked = false;
  let loginEnd = 0;
  const isLoggingIn = () => isAsked || board.now < loginEnd;
  const usualMs = () => (isLoggingIn() ? loginSilenceMs : known ? knownSilenceMs : silenceMs);
  const shortMs = () => (isLoggingIn() ? loginSilenceMs : known ? knownSilenceMs : shortSilenceMs);
  let waitMs = known ? knownSilenceMs : silenceMs;
  let sentAt = board.now;
  /** Since when nothing but kernel lines came. Those come at any time, and say nothing about a prompt. */
  let quietSince = board.now;
  let lastWords = board.now;
  const send = function* (
    what: typeof last,
    keys: string,
    nextWaitMs: number,
    isSecret = what === "password",
  ): Dialogue<void> {
    last = what;
    sent = isSecret ? "the password" : keys;
    text = "";
    waitMs = nextWaitMs;
    yield* board.send(keys, isSecret);
    sentAt = board.now;
  };
  const answerLogin = function* (
    what: "name" | "password" | "answer",
    keys: string,
    nextWaitMs: number,
    isSecret?: boolean,
  ): Dialogue<void> {
    isAsked = false;
    mayBeRefused ||= what !== "answer";
    loginEnd = board.now + profileTimeoutMs;
    yield* send(what, `${keys}\n`, nextWaitMs, isSecret);
  };
  const isBooting = () =>
    (options.isBooting === true || board.boot.lines.size > 0) && board.now - lastWords < bootSilenceMs;
  const nextNudge = () => {
    if (isBooting() || board.now < loginEnd) return enterKey;
    if (isAsked) return gentle;
    // Nobody can have typed half a line into a boot.
    if (nudge === 0 && (options.isBooting || board.boot.lines.size > 0)) {
      nudge = 1;
      return enterKey;
    }
    return nudges[nudge++ % nudges.length] ?? gentle;
  };
  const floodLimitMs = (plain: string) => {
    if (known) return knownFloodMs;
    if (floods >= 2 || isBooting() || isLoggingIn()) return cautiousFloodMs;
    if (countdown.test(plain) || /\blogin: /.test(plain)) return cautiousFloodMs;
    if (isSteady(plain, /\d\d:\d\d:\d\d(?:[.,]\d+)?/g)) return steadyFloodMs;
    if (startingUp.test(plain)) return cautiousFloodMs;
    return isSteady(plain, /\b(?:0x)?[\da-f]*\d[\da-f]*/gi) ? steadyFloodMs : floodMs;
  };
  while (board.now < end) {
    const fresh = yield* board.next(Math.min(waitMs, end - board.now));
    text = (text + fresh).slice(-maxTextLength);
    if (/[a-z]{3}/i.test(fresh) && board.now - sentAt > echoMs) lastWords = board.now;
    // During a boot, kernel lines show that it goes on.
    const bootGoesOn = isBooting() && board.lastByteAt === board.now && fresh === "";
    if (bootGoesOn) lastWords = board.now;
    if (board.boot.panic !== undefined)
      throw new BoardFailure("panic", `the board's kernel panicked: ${board.boot.panic}`);
    const plain = Buffer.from(text.replaceAll("\r", ""), "latin1").toString("utf8");
    if (plain.includes(answer)) {
      const uboot = ubootIn(plain, true);
      if (uboot) throw uboot;
      return namePrompt !== undefined;
    }
    const line = lastLine(plain);
    const isAskedAgain = last === "password" && line !== "" && line === namePrompt;
    if (mayBeRefused && (isAskedAgain || refusalIn(plain) !== undefined)) {
      // An account may be locked after a few wrong passwords.
      if (isNameRight || ++refusals > 1) throw refused(refusalIn(plain) ?? plain);
      // The name may have been damaged on the line, or added to what stood at the prompt.
      text = "";
      mayBeRefused = false;
      waitMs = silenceMs;
      continue;
    }
    const asked = questions.asked(plain);
    const asksName = asked === "name";
    const asksPassword = asked === "password";
    const isOwnPrompt = isShellPrompt?.(line) ?? false;
    const isPrompt = asked !== undefined || isOwnPrompt || shellPrompt.test(plain);
    if (asksName || asksPassword) isAsked = true;
    if (asksPassword && last === "name")
      isNameRight &&= plain.trimStart().split("\n", 1)[0]?.trim() === login?.user;
    if (fresh !== "" || bootGoesOn) {
      // More may follow: only at the end of the output is a prompt one.
      waitMs = isPrompt ? promptSilenceMs : usualMs();
      quietSince = board.now;
      if (asked !== "new-password" && board.now - sentAt > floodLimitMs(plain)) {
        floods += 1;
        if (last === "nudge" && !isBooting()) yield* send("probe", `\x15${probe}\n`, shortMs());
        else yield* send("nudge", nextNudge(), shortMs());
      }
      continue;
    }
    // A timer may fire a fraction of a millisecond early.
    if (board.now - quietSince < waitMs - 2) continue;
    if (asked === "new-password") throw newPassword(line);
    if (typeof asked === "object") {
      quietSince = board.now;
      asked.left -= 1;
      const isSecret = ["password", "new-password"].includes(asks(plain) ?? "");
      yield* answerLogin("answer", asked.answer, loginSilenceMs, isSecret);
      continue;
    }
    if (isBooting() && !isPrompt) {
      waitMs = Math.max(silenceMs, lastWords + bootSilenceMs - board.now);
      continue;
    }
    const asksAnything = known ? undefined : questionIn(plain);
    if (asksAnything) throw asksAnything;
    quietSince = board.now;
    const way = last === "name" ? undefined : wayOut(plain);
    if (way !== undefined && board.now >= loginEnd) {
      yield* send("nudge", way, shortMs());
      continue;
    }
    // A shell's prompt may look like a login's, so the probe comes first.
    if (!login && (asksName || asksPassword) && last === "probe") throw missingLogin("login", "login.user");
    if (login && asksName && last !== "name") {
      // What was there before this login may have been typed to by others.
      isNameRight = last !== undefined || !lastLine(options.text ?? "").endsWith(line);
      namePrompt = line;
      yield* answerLogin("name", login.user, loginSilenceMs);
    } else if (asksPassword && last === "name") {
      if (login?.password === undefined) throw missingLogin("password", "login.password-file");
      yield* answerLogin("password", login.password, silenceMs);
    } else if (
      last !== "probe" &&
      (isPrompt || (last === "nudge" && !isBooting() && !(board.now < loginEnd)))
    ) {
      // Also when a nudge brought nothing: a prompt may be empty.
      yield* send("probe", `\x15${probe}\n`, shortMs());
    } else yield* send("nudge", nextNudge(), board.received === receivedBefore ? silenceMs : shortMs());
  }
  throw ubootIn(text.replaceAll("\r", ""), false) ?? board.noPrompt("shell", receivedBefore, sent);
}

/** Whether lines come again, but for what changes, such as a time of day or a counter. */
function isSteady(text: string, changing: RegExp): boolean {
  const lines = text.split("\n").slice(0, -1);
  const different = new Set(lines.map((line) => line.replace(changing, "0").trim()));
  return lines.length > 1 && 2 * different.size <= lines.length;
}

interface Question {
  readonly pattern: Pattern;
  readonly answer: string;
  /** How often it may still be answered. */
  left: number;
}

type Pattern = ReturnType<typeof compilePattern>;

/** What the board asks, by the configuration or in its own words. */
class Questions {
  readonly #name: Pattern | undefined;
  readonly #password: Pattern | undefined;
  readonly #others: readonly Question[];

  constructor({ prompts, answers = [] }: Partial<Login> = {}) {
    this.#name = prompts?.login === undefined ? undefined : compilePattern(prompts.login);
    this.#password = prompts?.password === undefined ? undefined : compilePattern(prompts.password);
    this.#others = answers.map(({ expect, send }) => ({
      pattern: compilePattern(expect),
      answer: send,
      left: maxAnswers,
    }));
  }

  /** @returns what stands at the end of the text; a question with a configured answer may stand anywhere in it */
  asked(text: string): Asks | Question {
    const question = this.#others.find(({ pattern, left }) => left > 0 && pattern.test(text));
    if (question) return question;
    const line = lastLine(text);
    if (this.#name?.test(line)) return "name";
    if (this.#password?.test(line)) return "password";
    return asks(text);
  }
}

function refused(words: string): BoardFailure {
  const message = `the board refuses the login: ${shown(words.trim().slice(-200), 200)}; check user and password`;
  return new BoardFailure("login-refused", message);
}

function newPassword(line: string): BoardFailure {
  return new BoardFailure(
    "login-refused",
    `the board asks for a new password: ${shown(line, 100)}; nothing was typed there. Set one by hand, with labgear console --write`,
  );
}

function missingLogin(what: string, key: string): BoardFailure {
  return new BoardFailure(
    "login-refused",
    `the board asks for a ${what}, but the configuration has none: add ${key}`,
  );
}
