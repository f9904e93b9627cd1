/** Unity's output, also with fixtures and in ESP-IDF: cases, the line of counts, then OK or FAIL. */
import { type Convention, failure, pass, type TestCase, type Verdict } from "./convention.ts";

/** unity.c: UnityConcludeTest and UnityEnd. unity_fixture.c prints `TEST(group, name)` as the name, or dots unless it is verbose. */
const form = {
  result: /^(.*?):(\d+):(.*?):(PASS|FAIL|IGNORE)(?::? ?(.*))?$/,
  fixture: /^(IGNORE_)?TEST\((\w+), (\w+)\)(?: PASS)?$/,
  dots: /^[.!]+$/,
  counts: /^(\d+) Tests (\d+) Failures (\d+) Ignored *$/,
  last: /^(OK|FAIL|FAILED)$/,
};

const statuses = { PASS: "passed", FAIL: "failed", IGNORE: "skipped" } as const;
const maxCases = 10_000;
const maxTextLength = 500;

export class Unity implements Convention {
  readonly cases: TestCase[] = [];
  /** Counts the cases' own lines, also beyond maxCases. */
  #seen = { total: 0, failed: 0, skipped: 0 };
  /** A fixture that isn't verbose prints dots for passed cases. */
  #quiet = false;
  /** Why the counts can't be a pass. */
  #problem: string | undefined;
  #total: number | undefined;
  #ended = false;
  begun = false;

  get missing(): string {
    return this.#total === undefined
      ? "the line “N Tests N Failures N Ignored” never came"
      : "after the counts neither OK nor FAIL came";
  }

  line(line: string): Verdict | undefined {
    const text = line.trimEnd();
    if (this.#isLast(text)) {
      this.#ended = true;
      return this.#conclusion(text === "OK");
    }
    const counts = form.counts.exec(text);
    if (counts) return this.#counts(counts.slice(1).map(Number));
    if (form.dots.test(text)) this.#quiet = true;
    const [, file, at, name, word, message] = form.result.exec(text) ?? [];
    const fixture = form.fixture.exec(text);
    if (name !== undefined && word !== undefined) {
      const status = statuses[word as keyof typeof statuses];
      return this.#case(
        status,
        file ?? "",
        name,
        message ? { message, details: `${file}:${at}: ${message}` } : {},
      );
    }
    if (fixture) return this.#case(fixture[1] ? "skipped" : "passed", fixture[2] ?? "", fixture[3] ?? "", {});
    return undefined;
  }

  unfinished(line: string): Verdict | undefined {
    const text = line.trimEnd();
    return this.#isLast(text) ? this.#conclusion(text === "OK") : undefined;
  }

  #isLast(text: string): boolean {
    return form.last.test(text) && this.#total !== undefined && !this.#ended;
  }

  #case(
    status: "passed" | "failed" | "skipped",
    suite: string,
    name: string,
    said: { message?: string; details?: string },
  ): Verdict | undefined {
    this.begun = true;
    this.#seen.total += 1;
    if (status !== "passed") this.#seen[status] += 1;
    const cut = Object.fromEntries(
      Object.entries(said).map(([key, text]) => [key, text.slice(0, maxTextLength)]),
    );
    if (this.cases.length < maxCases)
      this.cases.push({
        suite: suite.slice(-maxTextLength),
        name: name.slice(0, maxTextLength),
        time: 0,
        status,
        ...cut,
      });
    return this.#ended ? failure("a test case came after the end of the run") : undefined;
  }

  #counts([total = 0, failed = 0, skipped = 0]: number[]): Verdict | undefined {
    this.begun = true;
    if (this.#total !== undefined) return failure("the line of counts came twice");
    this.#total = total;
    const seen = this.#seen;
    if (total === 0) this.#problem = "no test ran";
    else if (failed > 0) this.#problem = `${failed} of ${total} tests failed`;
    else if (seen.failed > 0) this.#problem = "a test failed, but isn't among the counts";
    else if (!this.#quiet && (seen.total !== total || seen.skipped !== skipped))
      this.#problem = `the counts have ${total} tests (${skipped} ignored), but ${seen.total} came (${seen.skipped} ignored): output was lost`;
    return undefined;
  }

  #conclusion(ok: boolean): Verdict {
    if (this.#problem) return failure(this.#problem);
    return ok
      ? pass(`${this.#total} tests, no failure`)
      : failure("it ended with FAIL, but the counts have no failure");
  }
}
