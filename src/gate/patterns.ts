/** Texts that a rule compares: as they are, by `*`, or by a pattern that has to match the whole of a value. RE2: linear in any input. */
import { RE2JS, RE2JSException } from "re2js";
import { printable } from "#/lib/text.ts";

export interface TextPattern {
  /** As the configuration has it. */
  readonly source: string;
  readonly matches: (text: string) => boolean;
}

const maxPatternLength = 1000;
/** In RE2's instructions. */
const maxPatternProgram = 5000;

/** `*` stands for any characters but a slash, `**` for any; everything else for itself. */
export function globPattern(source: string): TextPattern {
  if (!source.includes("*")) return { source, matches: (text) => text === source };
  const expression = source
    .split(/(\*\*|\*)/)
    .map((part) => (part === "**" ? "(?s:.*)" : part === "*" ? "[^/]*" : RE2JS.quote(part)))
    .join("");
  const compiled = RE2JS.compile(expression);
  return { source, matches: (text) => compiled.matches(text) };
}

/** For a value as a whole. @throws RE2JSException */
export function wholePattern(source: string): TextPattern {
  const compiled = RE2JS.compile(source);
  return { source, matches: (text) => compiled.matches(text) };
}

/** @returns what is wrong with a pattern for a parameter's value; undefined: nothing */
export function wholePatternProblem(source: string): string | undefined {
  if (source.length > maxPatternLength)
    return `it has ${source.length} characters, and the limit is ${maxPatternLength}`;
  try {
    return RE2JS.compile(source).programSize() > maxPatternProgram
      ? "it is too large: use smaller counts in {…}"
      : undefined;
  } catch (error) {
    if (error instanceof RE2JSException) return printable(error.message);
    throw error;
  }
}
