/** Which lines of a console say what went wrong: the error lines of compilers, linkers, test runners, kernels and shells. */

/** `certain`: a tool's own form of an error. `likely`: words that also stand in the output of a build that passes. */
export type ErrorRank = "certain" | "likely";

/** Each pattern stands for the tools named behind it. Anchored where the tool writes it at the beginning of a line. */
const certain = [
  String.raw`^\S[^:]{0,300}:\d+(?::\d+)?:(?:\d+:)? (?:fatal |internal compiler )?error\b`, // gcc, clang, dtc, javac
  String.raw`\bundefined reference to\b|\bmultiple definition of\b`, // ld
  String.raw`\bregion \S+ overflowed by\b|\bcollect2: error\b|\bld(?:\.lld|\.bfd|\.gold)?: (?:error:|cannot find)`, // ld, lld
  String.raw`^make(?:\[\d+\])?: \*\*\* |^FAILED: |^ninja: (?:error|build stopped)|^CMake Error`, // make, ninja, CMake
  String.raw`^error(?:\[E\d+\])?: |^error\[`, // rustc, cargo, git
  String.raw`^\S+\.go:\d+:\d+: |^\s*--- FAIL: |^panic: `, // go
  String.raw`^\S+\(\d+,\d+\): error |error TS\d+:|^npm (?:ERR!|error) `, // tsc, npm
  String.raw`^\[ERROR\] |^FAILURE: Build failed`, // Maven, Gradle
  "^A fatal error occurred: ", // esptool
  String.raw`^Traceback \(most recent call last\)|^E {3,}\S|^FAILED \S+::|^ERROR \S+::|^FAIL: test`, // Python, pytest, unittest
  String.raw`^[A-Za-z_][\w.]*(?:Error|Exception)(?:: |$)`, // Python, Node, Java
  String.raw`\bKernel panic - not syncing\b|\bBUG: |\bOops(?:: | - )|\bInternal error: |\bUnable to handle kernel\b`, // Linux
  String.raw`\bFATAL ERROR\b|\bASSERTION FAIL\b|\bGuru Meditation Error\b|\b[Hh]ard ?[Ff]ault\b`, // Zephyr, ESP-IDF
  String.raw`^(?:\[[^\]]{1,20}\] )?\s*(?:#\s*)?not ok \d+|^ FAIL - |:FAIL(?::|$)|^\[ {2}FAILED {2}\] `, // TAP, ztest, Unity, GoogleTest
  "^(?:git: )?(?:fatal|error): ", // git
];

const likely = [
  String.raw`(?:^|[\s:[<(])(?:error|fatal|failed|failure|critical)(?::|\]|>| -)`,
  String.raw`^(?:ERROR|FATAL|FAIL(?:ED|URE)?)\b|^[EF]\b:? ?\(\d+\) `, // ESP-IDF's log too
  String.raw`: (?:command not found|No such file or directory|Permission denied|not found|cannot \S+ )|\bassert(?:ion)? .{0,200}\bfailed\b`,
  String.raw`\bSegmentation fault\b|\bAborted\b|\bcore dumped\b|\bOut of memory\b|\bNo space left on device\b|\btimed out\b`,
];

const certainLine = new RegExp(certain.join("|"));
const likelyLine = new RegExp(likely.join("|"), "i");
/** What an error line has at least: most lines are passed over by this alone. */
const hint =
  /err|fail|fatal|panic|undefined|multiple|overflow|\*\*\*|exception|traceback|bug|oops|unable|assert|guru|fault|not |cannot|denied|abort|dumped|memory|space|critical|timed|^E |\.go:/i;
/** Counts of nothing, and flags that only mention errors. */
const harmless =
  /\b(?:0|no) (?:errors?|failures?|failed)\b|\b(?:errors?|failures?|failed)[:=] ?0\b|-Werror\b/i;

/** Tools colour their output when they think that it's a terminal (ECMA-48, SGR and erase). */
const colour = String.raw`\x1b\[[\d;:]*[mK]`;
const colours = new RegExp(colour, "g");
/** Beyond it a line is data. */
const maxLineLength = 2000;

/** @returns how sure it is that this line of a console reports an error; undefined for an ordinary line */
export function errorRank(line: string): ErrorRank | undefined {
  const start = line.slice(0, maxLineLength);
  if (!hint.test(start)) return undefined;
  const text = start.replace(colours, "").trimEnd();
  if (isAgentsLine(text) || harmless.test(text)) return undefined;
  if (certainLine.test(text)) return "certain";
  return likelyLine.test(text) ? "likely" : undefined;
}

/** The agent's own lines say how a build ended, not why its job failed. */
export function isAgentsLine(line: string): boolean {
  return line.startsWith("[labgear] ");
}
