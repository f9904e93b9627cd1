/** What may stand on a console where a shell's prompt was expected: a pager, a command's question, a menu or an installer, U-Boot. */
import { shown } from "#/lib/text.ts";
import { BoardFailure } from "../../errors.ts";
import { lastLine } from "./prompts.ts";

/** And zsh's menu for a user without a configuration, which `q` leaves as it is, too. */
const pager =
  /--More--|^--- Type one of the keys in parentheses ---$|^\(END\)$|^lines \d+-\d+|^Manual page .* line \d+|^:$/;
/** A command of a shell asks, so an interrupt leads back to the shell. */
const commandPassword = /^\[sudo\] |\bpassphrase\b.*: *$|'s password: *$/i;
/** Enter would choose what is marked, or say yes. */
const question =
  /[[(](?:y(?:es)?\/no?|no?\/y(?:es)?)(?:\/[^\])]{1,20})?[\])]\W*$|\bpress (?:any key|a key|enter|return|control-d)\b(?!.*(?:activate|autoboot))|\b(?:choice|selection|select|option|menu)\b[^#$]{0,60}[:?>]$/i;
const ubootAnswer = /Unknown command '\w+'/;
const ubootPrompt = /^(?:[\w-]* ?=>|U-Boot>)$/;

/** @param text UTF-8, without carriage returns @returns keys that leave what stands at its end without harm */
export function wayOut(text: string): string | undefined {
  const line = lastLine(text);
  if (pager.test(line)) return "q";
  return commandPassword.test(line) ? "\x03" : undefined;
}

/** @returns what asks there; nothing may be typed at it */
export function questionIn(text: string): BoardFailure | undefined {
  const line = lastLine(text);
  if (!question.test(line)) return undefined;
  const message = `a question stands on the board's console: ${shown(line, 100)}; nothing was typed there. Answer it by hand, with labgear console --write, or by login.then`;
  return new BoardFailure("noise", message);
}

/**
 * U-Boot's shell answers `echo`, as a Linux shell does, and knows few other commands.
 * @param hasShell whether a shell answered: a Linux shell may have a prompt like U-Boot's
 */
export function ubootIn(text: string, hasShell: boolean): BoardFailure | undefined {
  if (!ubootAnswer.test(text) && (hasShell || !ubootPrompt.test(lastLine(text)))) return undefined;
  const message = `the board stands at U-Boot's prompt and hasn't started Linux: let it boot, or use console: u-boot`;
  return new BoardFailure("noise", message);
}
