/** Waits for patterns in a board's output, in time that grows with the output alone and in bounded memory. */
import { RE2JS } from "re2js";
import { PlainText } from "./plain-text.ts";

export interface Match {
  /** Which of the two came. */
  readonly kind: "pattern" | "fail";
  /** What was matched, as text without escape sequences. */
  readonly text: string;
  /** The groups of the pattern, from the first. */
  readonly groups: readonly (string | undefined)[];
}

export interface MatcherOptions {
  /** Characters that a match can have at most: what is further back is let go while a pattern is waited for. */
  readonly span?: number;
  /** Characters that are kept for the next pattern while none is waited for. */
  readonly backlog?: number;
}

interface Sought {
  readonly kind: Match["kind"];
  readonly pattern: RE2JS;
  readonly looksAhead: boolean;
}

/** Where a sought pattern was found. `open`: the next character may undo it. */
interface Found {
  readonly sought: Sought;
  readonly start: number;
  readonly end: number;
  readonly open: boolean;
  readonly groups: readonly (string | undefined)[];
}

/**
 * A matcher over one session's output, which begins when it is made: it never sees what came before. Patterns see text
 * as PlainText gives it: no escape sequences, `\n` alone at a line's end.
 *
 * `expect()` looks at what came since the end of the last match, then `feed()` at what comes. The first match in the output
 * wins, whichever pattern it is of; at the same place, `fail` does. It is given as soon as it is there, so that a pattern whose end is
 * open (`version .*`) may match a part of what will come. `$`, `\b` and `\B` at the end of what has come wait for the next character,
 * or for quiet(): `[#$] $` finds a prompt, and `ok$` doesn't find the beginning of `okay`.
 */
export class OutputMatcher {
  readonly #span: number;
  readonly #backlog: number;
  readonly #plain = new PlainText();
  #sought: readonly Sought[] = [];
  #onOneLine = false;
  /** Its first character is only there for `^` and `\b` to look back at. */
  #text = "\n";

  constructor(options: MatcherOptions = {}) {
    this.#span = options.span ?? 8 * 1024;
    this.#backlog = options.backlog ?? 256 * 1024;
  }

  /**
   * Waits for a pattern from now on, in place of the one before; what came since the last match is looked at first.
   * @param fail a pattern that ends the wait too
   */
  expect(pattern: string, fail?: string): Match | undefined {
    this.#sought = [seek("pattern", pattern), ...(fail === undefined ? [] : [seek("fail", fail)])];
    this.#onOneLine = [pattern, fail ?? ""].every(staysOnLine);
    return this.#search(false);
  }

  /** Output of the board. @returns the match that it completed; after it, nothing is waited for until the next expect() */
  feed(bytes: Uint8Array): Match | undefined {
    this.#text += this.#plain.push(bytes);
    return this.#search(false);
  }

  /** Nothing came for a while: what has come so far is taken as it stands. */
  quiet(): Match | undefined {
    this.#text += this.#plain.release();
    return this.#search(true);
  }

  /** Lets go of all that came so far, so that no later expect() looks at it. */
  skip(): void {
    this.#text = this.#text.slice(-1);
  }

  /** The last line of what came since the last match, for a message that says what came instead. */
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

  #search(settled: boolean): Match | undefined {
    if (this.#sought.length === 0) {
      if (this.#text.length > 2 * this.#backlog) this.#keep(this.#text.length - this.#backlog);
      return undefined;
    }
    const first = this.#sought
      .map((sought) => find(sought, this.#text))
      .filter((found) => found !== undefined)
      .reduce<Found | undefined>(earlier, undefined);
    if (!first || (first.open && !settled)) {
      this.#forget(first?.start);
      return undefined;
    }
    const text = this.#text.slice(first.start, first.end);
    this.#sought = [];
    this.#keep(first.end);
    return { kind: first.sought.kind, text, groups: first.groups };
  }

  /** Lets go of what no match can begin in any more. */
  #forget(open: number | undefined): void {
    const far = this.#text.length - this.#span;
    const line = this.#onOneLine ? this.#text.lastIndexOf("\n") + 1 : 1;
    const from = Math.max(far, Math.min(line, open ?? line));
    if (from > 1) this.#keep(from);
  }

  #keep(from: number): void {
    this.#text = this.#text.slice(from - 1);
  }
}

function seek(kind: Match["kind"], pattern: string): Sought {
  return { kind, pattern: compilePattern(pattern), looksAhead: looksAhead(pattern) };
}

function find(sought: Sought, text: string): Found | undefined {
  // By far the faster of the two; it may find the character that is only there to be looked back at.
  if (!sought.pattern.test(text)) return undefined;
  const matcher = sought.pattern.matcher(text);
  if (!matcher.find(1)) return undefined;
  const groups = Array.from(
    { length: matcher.groupCount() },
    (_, index) => matcher.group(index + 1) ?? undefined,
  );
  const end = matcher.end();
  return { sought, start: matcher.start(), end, open: sought.looksAhead && end === text.length, groups };
}

function earlier(one: Found | undefined, other: Found): Found {
  if (!one || other.start < one.start) return other;
  return other.start === one.start && other.sought.kind === "fail" ? other : one;
}

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
function staysOnLine(pattern: string): boolean {
  return onOneLine.test(pattern);
}

/** Whether a match at the end of the text so far may be none when the next character comes: `ok$` matches the beginning of `okay`. */
function looksAhead(pattern: string): boolean {
  return /\$|\\[bB]/.test(pattern.replaceAll("\\\\", "").replaceAll("\\$", ""));
}
