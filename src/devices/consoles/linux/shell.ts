/** A board's shell at our prompt: takes a line and answers, although the console carries other output and loses characters. */
import { BoardFailure } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import { readable } from "../expect.ts";
import type { LinuxBoard } from "./board.ts";
import { asksLogin } from "./prompts.ts";
import { type TypingProfile, typeText } from "./typing.ts";

export interface Shell {
  readonly board: LinuxBoard;
  readonly profile: TypingProfile;
  /** Eight characters for this console's prompt. */
  readonly id: string;
  /** Returns eight new characters from a-z and 0-9. */
  readonly token: () => string;
}

/** How often the shell may take a line without printing what the line should print. */
const maxRefusals = 4;
export const typingTimeoutMs = 15_000;
/** After this long without our prompt, the shell may be gone. */
const promptTimeoutMs = 15_000;
/** For what a line prints. */
export const commandTimeoutMs = 3000;
/** Without -ixon, a flipped bit can turn a keystroke into Ctrl-S, which stops the output. */
export const setTerminal = "stty sane -ixon -onlcr";
/** A terminal that doesn't know Ctrl-U makes it a part of the first word. */
export const setTerminalLine = ` true;${setTerminal}\n`;

export const promptOf = (shell: Pick<Shell, "id">): string => `lg-${shell.id}# `;

/**
 * Types a line, and waits for the prompt after it, or for other text. Repeats it while there is time and our prompt shows that the
 * shell is there.
 * @returns the output, up to what was expected
 * @throws BoardFailure noise
 */
export function* command(
  shell: Shell,
  line: string,
  end: number,
  expected: string | RegExp = promptOf(shell),
): Dialogue<string> {
  const { board, profile } = shell;
  const prompt = promptOf(shell);
  let refusals = 0;
  let last = "";
  let lastPrompt = board.now;
  for (let attempt = 0; board.now < end && board.boot.lines.size === 0; attempt++) {
    if (attempt > 0) {
      const output = yield* resetTerminal(shell);
      last = output;
      if (asksLogin(output)) break;
      if (output.includes(prompt)) lastPrompt = board.now;
      if (board.now - lastPrompt > promptTimeoutMs) break;
    }
    const kind = attempt % 2 === 0 ? "exact" : "edited";
    const timeoutMs = Math.min(typingTimeoutMs, end - board.now);
    // Many shells keep a line that starts with a space out of their history.
    if (!(yield* typeText(` ${line}`, board, profile, timeoutMs, kind))) continue;
    const output = yield* enter(shell, expected);
    last = output;
    // There is an echo after all.
    if (profile.echoes === false && output.includes(line)) profile.echoes = undefined;
    if (has(output, expected)) return output;
    if (asksLogin(output)) break;
    if (output.includes(prompt) && ++refusals >= maxRefusals) break;
  }
  const got = readable(last).slice(-160);
  throw new BoardFailure(
    "noise",
    `the board's shell doesn't take a typed line: its console is full of other output, or the line loses bytes; to ${JSON.stringify(line.slice(0, 60))} it answered ${JSON.stringify(got)}`,
  );
}

/**
 * Ends what runs or is half typed, and turns the terminal's echo on: our program, killed, or a damaged line may have left it off, and
 * without an echo no line counts as typed.
 * @returns the output, up to our prompt
 */
export function* resetTerminal(shell: Shell): Dialogue<string> {
  const { board, profile } = shell;
  const prompt = promptOf(shell);
  yield* board.send("\x03\x15");
  yield* board.drain(Math.max(50, 2 * profile.echoMs), 2000);
  yield* board.send(setTerminalLine);
  return yield* board.readUntil(
    (text) => text.includes(prompt),
    1000,
    () => 300,
  );
}

const has = (text: string, expected: string | RegExp): boolean =>
  typeof expected === "string" ? text.includes(expected) : expected.test(text);

/** Ends the line, and waits for the text. Both can get lost, so the line is ended again. @returns the output */
export function* enter({ board, profile }: Shell, expected: string | RegExp): Dialogue<string> {
  let output = "";
  for (let attempt = 0; attempt < 3 && !has(output, expected); attempt++) {
    yield* board.send("\n");
    const before = output;
    output += yield* board.readUntil(
      (text) => has(before + text, expected),
      commandTimeoutMs,
      (text) => {
        // Words after the line's end and then silence: the text came, but damaged.
        const isDamaged = attempt === 0 && /\n.*\S/.test(text);
        return isDamaged ? Math.max(60, 2 * profile.echoMs) : Math.max(300, 6 * profile.echoMs);
      },
    );
  }
  return output;
}
