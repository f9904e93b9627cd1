/** Makes a board's shell ours: a prompt that nothing else prints, a quiet terminal, a folder, and our program in it. */
import { BoardFailure } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import type { Hearing } from "../hearing.ts";
import { type TypingProfile, typeText } from "../typing.ts";
import { type ChecksumProgram, checksum, checksumPrograms } from "./checksum.ts";
import { serverProgram } from "./server.ts";

export interface Shell {
  readonly hearing: Hearing;
  readonly profile: TypingProfile;
  /** Eight characters of this console alone, for its prompt. */
  readonly id: string;
  /** Eight new characters. */
  readonly token: () => string;
}

/** What is known of a prepared board. */
export interface Prepared {
  /** The folder's path on the board. */
  readonly folder: string;
  readonly sum: ChecksumProgram;
  /** What a boot of the board has of its own; another one means that it has booted again. */
  readonly boot: string;
}

/** How often the shell may take a line and come back without what the line was to print. */
const maxRefusals = 4;
/** Milliseconds for typing a line. */
const typingTimeoutMs = 15_000;
/** Without a prompt for so long, it is looked where the board is. */
const promptTimeoutMs = 15_000;
const maxLooks = 3;
/** Times that the program is uploaded. */
const maxUploads = 12;
/** Milliseconds for what a line does. */
const longestAnswer = 3000;
/** Fits a terminal's line, and its buffer. */
const pieceLength = 200;
const shortestPiece = 12;
/** Keystrokes that a flipped bit turns into Ctrl-S mustn't stop the output. */
const terminal = "stty sane -ixon -onlcr";

export const promptOf = (shell: Shell): string => `lg-${shell.id}# `;

/**
 * From a shell that answers to our prompt, with our program on the board.
 * @throws BoardFailure noise, when it can't be typed through; mismatch when the board lacks the tools
 */
export function* prepare(shell: Shell, timeout: number): Dialogue<Prepared> {
  const { hearing } = shell;
  const until = hearing.now + timeout;
  // PS1 and PS2 are set together, so the prompt proves that the line was taken.
  yield* command(shell, `PS1='lg''-${shell.id}# ' PS2= PROMPT_COMMAND=;unset HISTFILE`, until);
  yield* command(shell, `${terminal};stty cols 250`, until);
  for (let uploads = 0; uploads < maxUploads && hearing.now < until; ) {
    // A damaged line can have done anything but this, so it is done until it is right.
    yield* command(
      shell,
      // The folder is the terminal's: a console that comes later finds the program there.
      "for d in /tmp /dev/shm /run /var/tmp ~;do T=$d/.lg-$(tty|tr -dc a-zA-Z0-9);mkdir -m 700 -p $T;[ -O $T ]&&>$T/w&&break;done 2>&-",
      until,
    );
    yield* command(
      shell,
      `for C in ${checksumPrograms.join(" ")} none;do $C </dev/null>/dev/null&&break;done 2>&-`,
      until,
    );
    const state = yield* look(shell, until);
    if (!state) continue;
    if (state.there === checksum(state.sum, Buffer.from(serverProgram))) return state;
    uploads++;
    yield* upload(shell, until);
    const then = yield* look(shell, until);
    if (then && then.there === checksum(then.sum, Buffer.from(serverProgram))) return then;
  }
  throw new BoardFailure(
    "noise",
    "what is typed doesn't reach the board unharmed: check the line, its speed and its flow control",
  );
}

/**
 * Types a line, and waits for the prompt after it, or other text. It is typed again as long as there is time and our prompt shows
 * that the shell is there.
 * @returns what came up to then
 * @throws BoardFailure noise
 */
export function* command(
  shell: Shell,
  line: string,
  until: number,
  expected: string | RegExp = promptOf(shell),
): Dialogue<string> {
  const { hearing, profile } = shell;
  const prompt = promptOf(shell);
  let refusals = 0;
  let seen = hearing.now;
  for (let attempt = 0; hearing.now < until && hearing.boot.size === 0; attempt++) {
    if (attempt > 0) {
      const shown = yield* resetTerminal(shell);
      if (asksLogin.test(shown)) break;
      if (shown.includes(prompt)) seen = hearing.now;
      if (hearing.now - seen > promptTimeoutMs) break;
    }
    // The space keeps it out of the history of shells that are set up so.
    const kind = attempt % 2 === 0 ? "exact" : "edited";
    const limit = Math.min(typingTimeoutMs, until - hearing.now);
    if (!(yield* typeText(` ${line}`, hearing, profile, limit, kind))) continue;
    const heard = yield* enter(shell, expected);
    // What was typed blind comes back after all.
    if (profile.echo === false && heard.includes(line)) profile.echo = undefined;
    if (shows(heard, expected)) return heard;
    if (asksLogin.test(heard)) break;
    if (heard.includes(prompt) && ++refusals >= maxRefusals) break;
  }
  throw new BoardFailure(
    "noise",
    "the board's shell doesn't take a typed line: other output fills its console, or bytes get lost",
  );
}

/**
 * Ends what runs or is half typed, and makes the terminal echo again: a program of ours that was killed, or a damaged line, can have
 * left it silent, and a silent one shows no line as typed.
 * @returns what came, up to our prompt if it did
 */
export function* resetTerminal(shell: Shell): Dialogue<string> {
  const { hearing, profile } = shell;
  yield* hearing.write("\x03\x15");
  yield* hearing.drain(Math.max(50, 2 * profile.delay), 2000);
  // The first word is for a terminal that doesn't know Ctrl-U, and makes it one word with it.
  yield* hearing.write(` true;${terminal}\n`);
  const until = hearing.now + 1000;
  let text = "";
  while (hearing.now < until && !text.includes(promptOf(shell))) {
    const fresh = yield* hearing.read(Math.min(300, until - hearing.now));
    if (fresh === "") break;
    text = (text + fresh).slice(-4096);
  }
  return text;
}

const asksLogin = /(?:login|password): *$/i;
const shows = (text: string, expected: string | RegExp): boolean =>
  typeof expected === "string" ? text.includes(expected) : expected.test(text);

/**
 * Ends the line, and waits for the text. The line's end can be lost as well, and so can the text, so it is sent again.
 * @returns what came
 */
function* enter({ hearing, profile }: Shell, expected: string | RegExp): Dialogue<string> {
  let text = "";
  for (let attempt = 0; attempt < 3; attempt++) {
    yield* hearing.write("\n");
    const until = hearing.now + longestAnswer;
    for (let quiet = hearing.now; hearing.now < until; ) {
      // Words after the line's end and then nothing: the text came, and was damaged.
      const damaged = attempt === 0 && /\n.*\S/.test(text);
      const silence = damaged ? Math.max(60, 2 * profile.delay) : Math.max(300, 6 * profile.delay);
      const left = silence - (hearing.now - quiet);
      if (left <= 0) break;
      const fresh = yield* hearing.read(left);
      text = (text + fresh).slice(-4096);
      if (shows(text, expected)) return text;
      if (fresh !== "") quiet = hearing.now;
    }
  }
  return text;
}

interface Look extends Prepared {
  /** The checksum of our program as it is on the board. */
  readonly there: string;
}

/**
 * Asks until an answer's two copies agree.
 * @returns undefined when they never do: then what was typed before is damaged
 */
function* look(shell: Shell, until: number): Dialogue<Look | undefined> {
  for (let attempt = 0; attempt < maxLooks; attempt++) {
    const mark = `lg=${shell.token()}`;
    const heard = yield* command(
      shell,
      `x=$C:$($C <$T/s 2>&-):$T:$(cat /proc/sys/kernel/random/boot_id):;echo '${mark.slice(0, 2)}''${mark.slice(2)}':$x$x`,
      until,
    );
    const found = new RegExp(`${mark}:((\\w+):(\\w*)[^:\\n]*:(/[^:\\n]*):([^:\\n]*):)\\1`).exec(heard);
    if (!found) continue;
    const [, , name, there = "", folder = "", boot = ""] = found;
    if (name === "none") {
      throw new BoardFailure(
        "mismatch",
        `the board has none of the programs ${checksumPrograms.join(", ")}: install one`,
      );
    }
    const sum = checksumPrograms.find((program) => program === name);
    return sum && { sum, there, folder, boot: boot.trim() };
  }
  return undefined;
}

/** Types our program into a file. While `read` waits the terminal itself echoes, without any line editor's ways. */
function* upload(shell: Shell, until: number): Dialogue<void> {
  const { hearing, profile } = shell;
  const left = () => Math.min(typingTimeoutMs, until - hearing.now);
  const loop = ` rm -f $T/s;while IFS= read -r l&&[ "$l" != . ];do printf %b "$l">>$T/s;done`;
  if (yield* typeText(loop, hearing, profile, left())) {
    yield* hearing.write("\n");
    yield* hearing.drain(100, 1000);
    const written = escaped(serverProgram);
    for (let from = 0; from < written.length; ) {
      const piece = pieceAt(written, from, Math.min(pieceLength, Math.max(shortestPiece, profile.chunk)));
      if (!(yield* typeText(piece, hearing, profile, left(), "exact"))) break;
      from += piece.length;
      yield* endLine(hearing, profile);
    }
    // One line end more, in case the last was lost.
    yield* hearing.write("\n");
    if (
      (yield* typeText(".", hearing, profile, left())) &&
      (yield* enter(shell, promptOf(shell))).includes(promptOf(shell))
    )
      return;
  }
  yield* hearing.write("\x03");
}

/**
 * Ends a line of the upload. Where a line ends doesn't matter, so a doubled end changes nothing; but when it is lost, clearing the
 * next line takes this one with it. On a line that is known to lose bytes its echo is waited for.
 */
function* endLine(hearing: Hearing, profile: TypingProfile): Dialogue<void> {
  for (let attempt = 0; attempt < 3; attempt++) {
    yield* hearing.write("\n");
    if (profile.chunk >= pieceLength || profile.echo === false) return;
    let text = "";
    for (const until = hearing.now + Math.max(100, 3 * profile.delay); hearing.now < until; ) {
      text += yield* hearing.read(until - hearing.now);
      if (text.includes("\n")) return;
    }
  }
}

/** As `printf %b` takes it, in one line. */
function escaped(program: string): string {
  return program.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

/** A piece of about that length that doesn't cut an escape in two. */
function pieceAt(written: string, from: number, length: number): string {
  let to = from;
  while (to < written.length && to - from < length) to += written[to] === "\\" ? 2 : 1;
  return written.slice(from, to);
}
