/** Checks the patterns of jobs and devices. They are RE2's, whose matching time is linear in the board's output. */
import { RE2JS, RE2JSException } from "re2js";
import { printable, shown } from "#/lib/text.ts";
import type { Kind } from "./kinds.ts";

/** In characters of the pattern's source. */
const maxLength = 2000;
/** In RE2's instructions: nested counted repetitions cost memory and time for every repetition. */
const maxProgram = 5000;

/**
 * What RE2 accepts but can never match: escape sequences and the carriage returns before a line feed are removed from the output
 * before it is matched, and the output has no beginning and no end.
 */
const unmatchable: readonly (readonly [RegExp, string])[] = [
  [
    /\\(?:x1[bB]|x\{0*1[bB]\}|033)/,
    "escape sequences are removed from the output before it is matched: leave them out",
  ],
  [/\\r\\n/, "the carriage return at the end of a line is removed before it is matched: leave \\r out"],
  [/\\[AzZ]/, "output has no beginning and no end: use ^ and $ for those of a line"],
];

/**
 * What is wrong with a pattern for a board's output.
 * @returns one line that says what is wrong and what to do; undefined: nothing is wrong
 * @internal
 */
export function patternProblem(source: string): string | undefined {
  if (source === "") return "it is empty and matches everything: say what to wait for";
  if (source.length > maxLength) return `it has ${source.length} characters, and the limit is ${maxLength}`;
  for (const [form, problem] of unmatchable) if (form.test(source.replaceAll("\\\\", "  "))) return problem;
  try {
    const compiled = RE2JS.compile(source, RE2JS.MULTILINE);
    if (compiled.programSize() > maxProgram) return "it is too large: use smaller counts in {…}";
    if (compiled.test("")) return "it matches without any output: say what to wait for";
    return undefined;
  } catch (error) {
    if (error instanceof RE2JSException) return `${syntaxProblem(source)}${error.message}`;
    throw error;
  }
}

/** RE2's own message doesn't name these. */
function syntaxProblem(source: string): string {
  if (/\(\?<?[=!]/.test(source)) return "lookahead and lookbehind are not supported: ";
  if (/\\[1-9]/.test(source)) return "backreferences are not supported: ";
  return "";
}

export const pattern: Kind = {
  expected: "a pattern for the console's output",
  refuse: (text) => {
    const problem = patternProblem(text);
    return problem && `${shown(text)} can't be used as a pattern: ${printable(problem)}`;
  },
};
