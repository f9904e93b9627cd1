/** From whatever state a board is in to a shell that answers: past booting, login, and what an earlier user left behind. */
import { BoardFailure } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import { type Hearing, readable } from "../hearing.ts";

export interface Login {
  readonly user: string;
  readonly password?: string;
}

const loginPrompt = /(?:^|[\n ])[^\n]{0,80}login: *$/i;
const passwordPrompt = /password(?: for [^\n:]{1,40})?: *$/i;
const refused = /login incorrect|authentication failure|permission denied|account .{0,20}(?:locked|expired)/i;
/** The end of a prompt, of any of the usual ones. */
const anyPrompt = /(?:^|\n)[^\n]{0,200}[#$%>] ?$/;

/** Milliseconds of silence after which something is sent. */
const silence = 2000;
/** The same, on a board whose prompt was had before. */
const knownSilence = 300;
/** The same, while a login is under way: it takes its time to refuse one. */
const loginSilence = 6000;
/** A board that boots is quiet at times, and an interrupt would end what it starts: so long it gets none. */
const bootSilence = 10_000;
/** For so long a board that boots may say nothing before it is spoken to: what is typed meanwhile can choke its driver. */
const bootPause = 6000;
/** Output that never ends is no reason to wait for ever: it may be a command's. */
const noiseTime = 30_000;
/** The same, on a board whose prompt was had before. */
const knownNoiseTime = 2000;
/** Silence after text that looks like a prompt. */
const shortSilence = 200;

/**
 * Ways out of what may hold the terminal, the mildest first. Ctrl-U first of all: a line that somebody left half-typed is not
 * to be run.
 */
const gentle = "\x15\n"; // a prompt that has been printed already
const nudges = [
  gentle,
  "\x11\x03", // output that is stopped; a command that runs, an open quote, a here-document
  "\x1c", // a command that ignores the interrupt
  "\x1b\x1b:q!\n", // vi
  "q", // less
  "\x04", // whatever reads to the end of its input
  "\x03\x15\n",
];

/**
 * @param probe text that makes a shell print `answer`, and whose echo doesn't contain it
 * @param prompt the prompt that this console is known to have, besides the usual ones
 * @param timeout milliseconds, in all
 * @throws BoardFailure
 */
export function* logIn(options: {
  readonly hearing: Hearing;
  readonly login: Login | undefined;
  readonly probe: string;
  readonly answer: string;
  readonly prompt: string | undefined;
  /** The board's shell was ours before. */
  readonly known?: boolean;
  readonly timeout: number;
}): Dialogue<void> {
  const { hearing, login, probe, answer, prompt, known = false, timeout } = options;
  const start = hearing.heard;
  const until = hearing.now + timeout;
  let text = "";
  let nudge = 0;
  let refusals = 0;
  /** What was sent last. A prompt that comes again after its answer may be a shell's, that looks like it. */
  let last: "name" | "password" | "probe" | "nudge" | undefined;
  let loggingIn = false;
  const usual = () => (loggingIn ? loginSilence : known ? knownSilence : silence);
  const short = () => (loggingIn ? loginSilence : known ? knownSilence : 800);
  let wait = known ? knownSilence : silence;
  let sent = hearing.now;
  /** Since when nothing but the kernel's lines came: those come at any time, and say nothing about a prompt. */
  let quiet = hearing.now;
  /** When words came last. */
  let words = hearing.now;
  /** What came before the last thing was sent, for the message. */
  let before = "";
  const send = function* (what: typeof last, said: string, patience: number): Dialogue<void> {
    last = what;
    before = text === "" ? before : text;
    text = "";
    wait = patience;
    yield* hearing.write(said, what === "password");
    sent = hearing.now;
  };
  const booting = () => hearing.boot.size > 0 && hearing.now - words < bootSilence;
  const nextNudge = () => (booting() || loggingIn ? gentle : (nudges[nudge++ % nudges.length] ?? gentle));
  while (hearing.now < until) {
    const fresh = yield* hearing.read(Math.min(wait, until - hearing.now));
    text = (text + fresh).slice(-4096);
    // Not the echo of what was sent.
    if (/[a-z]{3}/i.test(fresh) && hearing.now - sent > 300) words = hearing.now;
    // While a board boots, its kernel's lines say that it is at work.
    const atWork = hearing.boot.size > 0 && hearing.lastByte === hearing.now && fresh === "";
    if (atWork) words = hearing.now;
    if (hearing.panic !== undefined) {
      throw new BoardFailure("panic", `the board's kernel stopped: ${hearing.panic}`);
    }
    const plain = text.replaceAll("\r", "");
    if (plain.includes(answer)) return;
    if (refused.test(plain) && last !== "probe" && last !== "nudge") {
      text = "";
      wait = silence;
      // The first name may have been damaged on its way, or mixed with what stood at the prompt before.
      if (++refusals < 2) continue;
      throw new BoardFailure("login-refused", "the board refuses the login: check user and password");
    }
    const promptLike =
      anyPrompt.test(plain) || (prompt !== undefined && plain.trimEnd().endsWith(prompt.trim()));
    const asksName = loginPrompt.test(plain);
    const asksPassword = passwordPrompt.test(plain);
    if (asksName || asksPassword) loggingIn = true;
    if (fresh !== "" || atWork) {
      // More may follow: a prompt is one when it stays the last.
      wait = promptLike || asksName || asksPassword ? shortSilence : usual();
      quiet = hearing.now;
      if (!booting() && hearing.now - sent > (known ? knownNoiseTime : noiseTime)) {
        if (last === "nudge") yield* send("probe", `\x15${probe}\n`, short());
        else yield* send("nudge", nextNudge(), short());
      }
      continue;
    }
    if (hearing.now - quiet < wait) continue;
    const pausing = booting() && hearing.now - Math.max(words, hearing.lastByte) < bootPause;
    if (pausing && !promptLike && !asksName && !asksPassword) continue;
    quiet = hearing.now;
    // A shell's prompt may look like a login's, so it's no login before a shell's answer was tried for.
    if (!login && (asksName || asksPassword) && last === "probe") throw noLogin();
    if (login && asksName && last !== "name") yield* send("name", `${login.user}\n`, loginSilence);
    else if (asksPassword && last === "name") {
      yield* send("password", `${password(login)}\n`, silence);
      loggingIn = false;
    } else if (
      last !== "probe" &&
      (promptLike || asksName || asksPassword || (last === "nudge" && !booting()))
    ) {
      // Also after a nudge that brought nothing: a prompt may be empty.
      yield* send("probe", `\x15${probe}\n`, short());
    } else yield* send("nudge", nextNudge(), hearing.heard === start ? silence : short());
  }
  throw why(hearing, hearing.heard > start, text || before);
}

function noLogin(): BoardFailure {
  return new BoardFailure(
    "login-refused",
    "the board asks for a login, and the configuration gives none: add login.user",
  );
}

function password(login: Login | undefined): string {
  if (login?.password !== undefined) return login.password;
  throw new BoardFailure(
    "login-refused",
    "the board asks for a password, and the configuration gives none: add login.password-file",
  );
}

function why(hearing: Hearing, heard: boolean, text: string): BoardFailure {
  if (!heard) {
    return new BoardFailure(
      "silent",
      "the board says nothing: is it on, wired the right way round, with its console on this port?",
    );
  }
  if (hearing.garbled) {
    return new BoardFailure(
      "wrong-speed",
      "the board sends bytes that are no text: check the port's baud rate",
    );
  }
  const last = readable(text);
  return new BoardFailure("noise", `the board sends, and no prompt answers${last ? `; last: ${last}` : ""}`);
}
