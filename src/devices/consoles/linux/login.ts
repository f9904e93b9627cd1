/** From any state of a board to a shell that answers: through a boot, a login, and whatever an earlier user left running. */
import { shown } from "#/lib/text.ts";
import { BoardFailure } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import { promptTest } from "../prompt.ts";
import type { LinuxBoard } from "./board.ts";
import { asks, lastLine, type OwnQuestions, Questions, refusalIn } from "./prompts.ts";
import { questionIn, ubootIn, wayOut } from "./standing.ts";

export interface Login extends OwnQuestions {
  readonly user: string;
  readonly password?: string;
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
 * What was typed last, which is what the board's next words answer.
 *
 * ```
 *                silence, a flood or a pager
 *   listening ───────────────────────────────▶ nudged
 *       │                                       │ ▲
 *       │                   a prompt or silence ▼ │ no answer
 *       ├─────────── a shell's prompt ───────▶ probed ─── its answer ──▶ a shell
 *       │
 *       │ a login prompt, from nudged and probed, too
 *       ▼
 *     named ─────── a password prompt ───────▶ authenticating
 *       ▲                                            │
 *       └── refused, but the line may be at fault ───┘
 * ```
 *
 * `named`, `authenticating`, and `answered` after a configured answer, go on as `listening` does.
 */
type State =
  | { readonly kind: "listening" }
  | {
      readonly kind: "nudged" | "probed" | "named" | "authenticating" | "answered";
      /** As the reason shows it why there is no shell. */
      readonly typed: string;
    };

/** Of the name typed last, over all states after it. */
interface Account {
  /** The prompt at which it was typed. */
  readonly prompt: string;
  /** Whether it arrived as it was typed, at a prompt at which nothing can have stood before. */
  isNameRight: boolean;
  /** Whether it, or its password, may still be refused. */
  mayBeRefused: boolean;
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
  let refusals = 0;
  const questions = new Questions(login);
  let state = { kind: "listening" } as State;
  let account: Account | undefined;
  /** Whether a login's prompt came that has no answer yet. */
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
    kind: Exclude<State["kind"], "listening">,
    keys: string,
    nextWaitMs: number,
    isSecret = false,
  ): Dialogue<void> {
    state = { kind, typed: isSecret ? "the password" : keys };
    text = "";
    waitMs = nextWaitMs;
    yield* board.send(keys, isSecret);
    sentAt = board.now;
  };
  const sendProbe = () => send("probed", `\x15${probe}\n`, shortMs());
  const answerLogin = (
    kind: "named" | "authenticating" | "answered",
    keys: string,
    nextWaitMs: number,
    isSecret = kind === "authenticating",
  ) => {
    isAsked = false;
    loginEnd = board.now + profileTimeoutMs;
    return send(kind, `${keys}\n`, nextWaitMs, isSecret);
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
      return account !== undefined;
    }
    const line = lastLine(plain);
    const isAskedAgain = state.kind === "authenticating" && line !== "" && line === account?.prompt;
    if (account?.mayBeRefused && (isAskedAgain || refusalIn(plain) !== undefined)) {
      // An account may be locked after a few wrong passwords.
      if (account.isNameRight || ++refusals > 1) throw refused(refusalIn(plain) ?? plain);
      // The name may have been damaged on the line, or added to what stood at the prompt.
      text = "";
      account.mayBeRefused = false;
      waitMs = silenceMs;
      continue;
    }
    const asked = questions.asked(plain);
    const asksName = asked === "name";
    const asksPassword = asked === "password";
    const isOwnPrompt = isShellPrompt?.(line) ?? false;
    const isPrompt = asked !== undefined || isOwnPrompt || shellPrompt.test(plain);
    if (asksName || asksPassword) isAsked = true;
    if (asksPassword && account && state.kind === "named")
      account.isNameRight &&= plain.trimStart().split("\n", 1)[0]?.trim() === login?.user;
    if (fresh !== "" || bootGoesOn) {
      // More may follow: only at the end of the output is a prompt one.
      waitMs = isPrompt ? promptSilenceMs : usualMs();
      quietSince = board.now;
      if (asked !== "new-password" && board.now - sentAt > floodLimitMs(plain)) {
        floods += 1;
        if (state.kind === "nudged" && !isBooting()) yield* sendProbe();
        else yield* send("nudged", nextNudge(), shortMs());
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
      yield* answerLogin("answered", asked.answer, loginSilenceMs, isSecret);
      continue;
    }
    if (isBooting() && !isPrompt) {
      waitMs = Math.max(silenceMs, lastWords + bootSilenceMs - board.now);
      continue;
    }
    const asksAnything = known ? undefined : questionIn(plain);
    if (asksAnything) throw asksAnything;
    quietSince = board.now;
    const way = state.kind === "named" ? undefined : wayOut(plain);
    if (way !== undefined && board.now >= loginEnd) {
      yield* send("nudged", way, shortMs());
      continue;
    }
    // A shell's prompt may look like a login's, so the probe comes first.
    if (!login && (asksName || asksPassword) && state.kind === "probed")
      throw missingLogin("login", "login.user");
    if (login && asksName && state.kind !== "named") {
      // What was there before this login may have been typed to by others.
      const isNameRight = state.kind !== "listening" || !lastLine(options.text ?? "").endsWith(line);
      account = { prompt: line, isNameRight, mayBeRefused: true };
      yield* answerLogin("named", login.user, loginSilenceMs);
    } else if (account && asksPassword && state.kind === "named") {
      if (login?.password === undefined) throw missingLogin("password", "login.password-file");
      account.mayBeRefused = true;
      yield* answerLogin("authenticating", login.password, silenceMs);
    } else if (
      state.kind !== "probed" &&
      (isPrompt || (state.kind === "nudged" && !isBooting() && !(board.now < loginEnd)))
    ) {
      // Also when a nudge brought nothing: a prompt may be empty.
      yield* sendProbe();
    } else yield* send("nudged", nextNudge(), board.received === receivedBefore ? silenceMs : shortMs());
  }
  throw (
    ubootIn(text.replaceAll("\r", ""), false) ??
    board.noPrompt("shell", receivedBefore, state.kind === "listening" ? "" : state.typed)
  );
}

/** Whether lines come again, but for what changes, such as a time of day or a counter. */
function isSteady(text: string, changing: RegExp): boolean {
  const lines = text.split("\n").slice(0, -1);
  const different = new Set(lines.map((line) => line.replace(changing, "0").trim()));
  return lines.length > 1 && 2 * different.size <= lines.length;
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
