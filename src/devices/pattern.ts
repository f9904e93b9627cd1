/** What the matcher has to know of a pattern before it can look for it in a stream. */
import { RE2JS } from "re2js";

/**
 * Compiles a pattern for a board's output; `^` and `$` are the beginning and end of a line.
 * @throws RE2JSException for a pattern that the configuration would have refused
 */
export function compilePattern(pattern: string): RE2JS {
  return RE2JS.compile(pattern, RE2JS.MULTILINE);
}

const printable = String.raw`[^\x00-\x1f\x7f\\[\]]`;
const escapedSign = String.raw`\\[!-/:-@[-\x60{-~]`;
const onOneLine = new RegExp(
  String.raw`^(?:[^\x00-\x1f\\[(]|\\[dwbBtr]|${escapedSign}|\((?!\?)|\(\?(?:i?:|i\)|P?<\w+>)|\[(?!\^)(?:${printable}|\\[dw]|${escapedSign})+\])*$`,
);

/**
 * Whether a match can't reach over a line's end, so that no more than the unfinished line has to be searched again when more comes.
 * Patterns with negated classes, `\s` and rare syntax count as if they could.
 */
export function staysOnLine(pattern: string): boolean {
  return onOneLine.test(pattern);
}

/** Whether a match at the end of the text so far may be none when the next character comes: `ok$` matches the beginning of `okay`. */
export function looksAhead(pattern: string): boolean {
  return /\$|\\[bB]/.test(pattern.replaceAll("\\\\", "").replaceAll("\\$", ""));
}
