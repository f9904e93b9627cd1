/** Matches patterns against a board's output as it arrives, in linear time and bounded memory. */
import { RE2JS } from "re2js";
import { PlainText } from "./plain-text.ts";

export interface Match {
  readonly kind: "pattern" | "fail";
  /** Which pattern matched. */
  readonly pattern: string;
  /** What matched, without escape sequences. */
  readonly text: string;
}

/** A match can't be longer: earlier output is dropped while a pattern is expected. */
const maxMatchLength = 8 * 1024;
/** How much output is kept for the next pattern while none is expected. */
const maxBacklogLength = 256 * 1024;

interface Sought {
  readonly kind: Match["kind"];
  readonly source: string;
  readonly pattern: RE2JS;
  readonly looksAhead: boolean;
}

/** `open`: the next character may undo the match. */
interface Found {
  readonly sought: Sought;
  readonly start: number;
  readonly end: number;
  readonly open: boolean;
}

/**
 * Matches against one session's output. Patterns see PlainText: no escape sequences, and `\n` at the end of a line.
 *
 * `expect()` searches the output since the last match, and `feed()` what follows. The first match in the output wins, and `fail`
 * wins a tie. A match counts at once, so a pattern with an open end (`version .*`) may match less than the whole line. `$`, `\b`
 * and `\B` at the end of the output wait for the next character or for quiet(): `[#$] $` finds a prompt, and `ok$` doesn't match
 * the beginning of `okay`.
 */
export class OutputMatcher {
  readonly #plain = new PlainText();
  #sought: readonly Sought[] = [];
  #onOneLine = false;
  /** The first character is only context, for `^` and `\b`. */
  #text = "\n";

  /**
   * Expects one of the patterns, in place of those before.
   * @param fails patterns that also end the wait
   * @returns a match in the output since the last match
   */
  expect(patterns: readonly string[], fails: readonly string[] = []): Match | undefined {
    this.#sought = [
      ...patterns.map((pattern) => seek("pattern", pattern)),
      ...fails.map((pattern) => seek("fail", pattern)),
    ];
    this.#onOneLine = [...patterns, ...fails].every(staysOnLine);
    return this.#search(false);
  }

  /** @returns the match that the bytes complete; nothing is expected after it until the next expect() */
  feed(bytes: Uint8Array): Match | undefined {
    this.#text += this.#plain.push(bytes);
    return this.#search(false);
  }

  /** Call it after a silence: the output counts as it stands. */
  quiet(): Match | undefined {
    this.#text += this.#plain.release();
    return this.#search(true);
  }

  /** The last line since the last match, for messages. */
  get lastLine(): string {
    return (
      this.#text
        .slice(Math.max(1, this.#text.length - 500))
        .trimEnd()
        .split("\n")
        .at(-1)
        ?.trim()
        .slice(-200) ?? ""
    );
  }

  #search(isQuiet: boolean): Match | undefined {
    if (this.#sought.length === 0) {
      if (this.#text.length > 2 * maxBacklogLength) this.#keepFrom(this.#text.length - maxBacklogLength);
      return undefined;
    }
    const first = this.#sought
      .map((sought) => find(sought, this.#text))
      .filter((found) => found !== undefined)
      .reduce<Found | undefined>(earlier, undefined);
    if (!first || (first.open && !isQuiet)) {
      this.#trim(first?.start);
      return undefined;
    }
    const text = this.#text.slice(first.start, first.end);
    this.#sought = [];
    this.#keepFrom(first.end);
    return { kind: first.sought.kind, pattern: first.sought.source, text };
  }

  /** Drops output that no match can begin in any more. @param open where a match that may still be undone begins */
  #trim(open: number | undefined): void {
    const far = this.#text.length - maxMatchLength;
    const line = this.#onOneLine ? this.#text.lastIndexOf("\n") + 1 : 1;
    const from = Math.max(far, Math.min(line, open ?? line));
    if (from > 1) this.#keepFrom(from);
  }

  #keepFrom(from: number): void {
    this.#text = this.#text.slice(from - 1);
  }
}

function seek(kind: Match["kind"], pattern: string): Sought {
  return { kind, source: pattern, pattern: compilePattern(pattern), looksAhead: looksAhead(pattern) };
}

function find(sought: Sought, text: string): Found | undefined {
  // test() is by far faster than find(), but may match the character that is only context.
  if (!sought.pattern.test(text)) return undefined;
  const matcher = sought.pattern.matcher(text);
  if (!matcher.find(1)) return undefined;
  const end = matcher.end();
  return { sought, start: matcher.start(), end, open: sought.looksAhead && end === text.length };
}

function earlier(one: Found | undefined, other: Found): Found {
  if (!one || other.start < one.start) return other;
  return other.start === one.start && other.sought.kind === "fail" ? other : one;
}

/**
 * Compiles a pattern for a board's output, where `^` and `$` match at the beginning and end of a line.
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
 * Whether no match can span lines, so only the unfinished line has to be searched again. Patterns with negated classes, `\s` and
 * rare syntax count as spanning lines.
 */
function staysOnLine(pattern: string): boolean {
  return onOneLine.test(pattern);
}

/** Whether the next character can undo a match at the end of the text, as an `a` after `ok` undoes `ok$`. */
function looksAhead(pattern: string): boolean {
  return /\$|\\[bB]/.test(pattern.replaceAll("\\\\", "").replaceAll("\\$", ""));
}
