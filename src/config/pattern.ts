/** Checks the patterns of jobs and devices: RE2's syntax, whose time to match grows with the text alone, for a board's output. */
import { RE2JS, RE2JSException } from "re2js";

/** Characters of a pattern's source. */
const maxLength = 2000;
/** Of a compiled pattern, in RE2's instructions: one that repeats counted repetitions costs memory and time for each of them. */
const maxProgram = 5000;

/**
 * Things that RE2 takes and that can never match a board's output as it is matched: escape sequences are taken out of it, each line
 * ends in one line feed, and it has neither a beginning nor an end.
 */
const unmatchable: readonly (readonly [RegExp, string])[] = [
  [/\\(?:x1[bB]|x\{0*1[bB]\}|033)/, "escape sequences are taken out of the output first: leave them out"],
  [/\\r\\n/, "a line ends in \\n here, the carriage return is taken out: leave \\r out"],
  [/\\[AzZ]/, "output has neither a beginning nor an end: use ^ and $, which stand for those of a line"],
];

/**
 * What is wrong with a pattern for a board's output.
 * @returns one line that says what, and what to do; undefined: nothing
 */
export function patternProblem(pattern: string): string | undefined {
  if (pattern === "") return "an empty pattern matches everything: say what to wait for";
  if (pattern.length > maxLength) return `it has ${pattern.length} characters, and ${maxLength} is the limit`;
  for (const [form, problem] of unmatchable) if (form.test(pattern.replaceAll("\\\\", "  "))) return problem;
  try {
    const compiled = RE2JS.compile(pattern, RE2JS.MULTILINE);
    if (compiled.programSize() > maxProgram) return "it is too large: use smaller counts in {…}";
    if (compiled.test("")) return "it matches without any output: say what to wait for";
    return undefined;
  } catch (error) {
    if (error instanceof RE2JSException) return `${syntaxProblem(pattern)}${error.message}`;
    throw error;
  }
}

/** Says what RE2 leaves out, where its own message wouldn't help. */
function syntaxProblem(pattern: string): string {
  if (/\(\?<?[=!]/.test(pattern)) return "looking ahead and behind isn't possible in linear time: ";
  if (/\\[1-9]/.test(pattern)) return "backreferences aren't possible in linear time: ";
  return "";
}
