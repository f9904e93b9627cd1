/** Zephyr's ztest, as twister reads it: cases, summaries of suites, and the line with the project's result. */
import { type Convention, failure, pass, type TestCase, type Verdict } from "./convention.ts";

/** zephyr/subsys/testing/ztest: tc_util.h and ztest.c print these. Zephyr's shell may print its prompt in front of them. */
const lead = String.raw`^\s*(?:[\w.-]+:~\$ )?\s*`;
const form = {
  suite: new RegExp(`${lead}Running TESTSUITE (\\S+)$`),
  start: new RegExp(`${lead}START - (\\S+)$`),
  end: new RegExp(`${lead}(PASS|FAIL|SKIP|BLOCK) - (\\S+)(?: in (\\d+\\.\\d+) seconds)?$`),
  summary: new RegExp(
    `${lead}SUITE (PASS|FAIL|SKIP) - +\\d+\\.\\d+% \\[(\\S+)\\]: +pass ?= ?(\\d+),? +fail ?= ?(\\d+),? +skip ?= ?(\\d+),? +total ?= ?(\\d+)(?:,? duration ?= ?\\d+\\.\\d+ seconds)?$`,
  ),
  summarised: new RegExp(
    `${lead}- (PASS|FAIL|SKIP|BLOCK|FLAKY) - \\[([^\\].]+)\\.(\\S+)\\](?: \\(Failed \\d+ of \\d+ attempts\\))?(?: -)? duration ?= ?(\\d+\\.\\d+) seconds$`,
  ),
  suiteEnd: new RegExp(`${lead}TESTSUITE (\\S+) (succeeded|failed)\\.?$`),
  passed: new RegExp(`${lead}PROJECT EXECUTION SUCCESSFUL$`),
};

const statuses = {
  PASS: "passed",
  FAIL: "failed",
  SKIP: "skipped",
  BLOCK: "error",
  FLAKY: "failed",
} as const;
type Word = keyof typeof statuses;

/** Bounds the memory when a firmware floods. */
const maxCases = 10_000;
const maxNameLength = 300;

export class Zephyr implements Convention {
  readonly #cases = new Map<string, TestCase>();
  readonly #open = new Map<string, string>();
  #suite = "";
  /** The number of cases of each suite, from its summary. */
  readonly #totals = new Map<string, number>();
  #contradiction: string | undefined;
  #ended = false;
  begun = false;
  readonly missing = "neither PROJECT EXECUTION SUCCESSFUL nor FAILED came";

  line(line: string): Verdict | undefined {
    const failed = line.includes("PROJECT EXECUTION FAILED");
    if (failed || form.passed.test(line)) {
      if (this.#ended) return failure("the result of the project came twice");
      this.#ended = true;
      return this.#conclusion(!failed);
    }
    const suite = form.suite.exec(line)?.[1]?.slice(0, maxNameLength);
    if (suite !== undefined) {
      this.#suite = suite;
      this.begun = true;
    }
    this.#case(line);
    this.#summary(line);
    const end = form.suiteEnd.exec(line);
    if (end?.[2] === "failed") this.#contradiction ??= `the suite ${end[1]} failed`;
    return undefined;
  }

  unfinished(line: string): Verdict | undefined {
    const failed = line.includes("PROJECT EXECUTION FAILED");
    return (failed || form.passed.test(line)) && !this.#ended ? this.#conclusion(!failed) : undefined;
  }

  get cases(): readonly TestCase[] {
    const open = [...this.#open].map(([name, suite]): TestCase => {
      return { suite, name, time: 0, status: "error", message: "it started and never ended" };
    });
    return [...this.#cases.values(), ...open];
  }

  #case(line: string): void {
    const started = form.start.exec(line)?.[1]?.slice(0, maxNameLength);
    if (started !== undefined) {
      this.begun = true;
      if (this.#open.size + this.#cases.size < maxCases) this.#open.set(started, this.#suite);
      return;
    }
    const [, word, name, seconds] = form.end.exec(line) ?? [];
    if (word === undefined || name === undefined) return;
    this.#add({ suite: this.#suite, name, time: Number(seconds ?? 0), status: statuses[word as Word] });
  }

  /** The summary repeats each case, so it makes up for a damaged line. */
  #summary(line: string): void {
    const [, word, suite, name, seconds] = form.summarised.exec(line) ?? [];
    if (word !== undefined && suite !== undefined && name !== undefined)
      this.#add({ suite, name, time: Number(seconds), status: statuses[word as Word] });
    const counts = form.summary.exec(line);
    if (!counts) return;
    this.begun = true;
    const [passed = 0, failed = 0, skipped = 0, total = 0] = counts.slice(3).map(Number);
    if (this.#totals.size < maxCases) this.#totals.set(counts[2]?.slice(0, maxNameLength) ?? "", total);
    if (passed + failed + skipped !== total)
      this.#contradiction ??= `the counts of the suite ${counts[2]} don't add up to ${total}`;
    if (failed > 0 || counts[1] === "FAIL") this.#contradiction ??= `the suite ${counts[2]} failed`;
  }

  #add(added: TestCase): void {
    const one = {
      ...added,
      suite: added.suite.slice(0, maxNameLength),
      name: added.name.slice(0, maxNameLength),
    };
    this.begun = true;
    this.#open.delete(one.name);
    const key = `${one.suite}.${one.name}`;
    // The suite's first line was damaged; only the summary names the suite.
    if (one.suite !== "" && this.#cases.get(`.${one.name}`)?.status === one.status)
      this.#cases.delete(`.${one.name}`);
    const known = this.#cases.get(key);
    // A suite may run several times. A case that failed once has failed.
    if (known && (known.status === "failed" || known.status === "error")) return;
    if (known || this.#cases.size < maxCases) this.#cases.set(key, one);
  }

  #failed(): string | undefined {
    const failed = this.cases.filter(({ status }) => status === "failed" || status === "error");
    if (failed.length === 0) return undefined;
    return `${failed.length} of ${this.cases.length} test cases failed, first ${failed[0]?.name}`;
  }

  #lost(): string | undefined {
    const suites = [...this.#cases.values()].map(({ suite }) => suite);
    for (const [name, total] of this.#totals) {
      const came = suites.filter((suite) => suite === name).length;
      if (came !== total) return `the suite ${name} has ${total} test cases, ${came} came: output was lost`;
    }
    return undefined;
  }

  #conclusion(passed: boolean): Verdict {
    const problem = this.#failed();
    if (!passed) return failure(problem ?? "PROJECT EXECUTION FAILED");
    const contradiction = problem ?? this.#contradiction ?? this.#lost();
    if (contradiction) return failure(`PROJECT EXECUTION SUCCESSFUL, but ${contradiction}`);
    return pass(`PROJECT EXECUTION SUCCESSFUL, ${this.#cases.size} test cases`);
  }
}
