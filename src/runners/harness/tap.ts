/** The Test Anything Protocol, versions 12 to 14, and the kernel's KTAP: a plan, and a line for each test. A subtest counts by its summary line. */
import { type Convention, failure, pass, type TestCase, type Verdict } from "./convention.ts";

/**
 * testanything.org, TAP 14 specification: Version, Plan, Test Points, Directives, Bail out!, YAML Diagnostics. Linux,
 * Documentation/dev-tools/ktap.rst: the same, with another first line.
 */
const form = {
  version: /^K?TAP version (\d+)$/,
  plan: /^1\.\.(\d+)(?:\s*#\s*(.*))?$/,
  test: /^(not )?ok(?: +(\d+))?(?: +(?:- *)?(.*))?$/,
  directive: /^(.*?)(?:^|[^\\])#\s*(SKIP|TODO)\S*\s*(.*)$/i,
  bail: /^Bail out!\s*(.*)$/,
};
const maxCases = 10_000;
const maxTextLength = 500;
const maxDetailsLength = 4000;

export class Tap implements Convention {
  readonly #cases: TestCase[] = [];
  #plan: number | undefined;
  #results = 0;
  #failed = 0;
  #ended = false;
  /** The last case, while diagnostics may follow it. */
  #diagnosed: { readonly index: number; text: string } | undefined;
  begun = false;

  get cases(): readonly TestCase[] {
    return this.#cases;
  }

  get missing(): string {
    const came = `${this.#results} results came`;
    return this.#plan === undefined
      ? `the plan never came; ${came}`
      : `${this.#plan} tests are planned; ${came}`;
  }

  line(line: string): Verdict | undefined {
    const text = line.trimEnd();
    const bail = form.bail.exec(text);
    if (bail) return failure(`Bail out! ${bail[1] ?? ""}`.trim().slice(0, maxTextLength));
    const plan = form.plan.exec(text);
    if (plan) return this.#planned(Number(plan[1]), plan[2] ?? "");
    const test = form.test.exec(text);
    if (test) return this.#result(test[1] === undefined, test[2], test[3] ?? "");
    if (form.version.test(text)) {
      if (this.begun) return failure("a second version line: the run started again");
      this.begun = true;
    }
    this.#diagnose(text);
    return undefined;
  }

  unfinished(line: string): Verdict | undefined {
    const text = line.trimEnd();
    const said = form.plan.exec(text);
    if (said && this.#plan === undefined && this.#results > 0 && Number(said[1]) === this.#results)
      return conclusion(this.#results, this.#failed);
    const [test, not, number, rest = ""] = form.test.exec(text) ?? [];
    const plan = this.#results + 1;
    if (test === undefined || this.#plan !== plan || Number(number ?? plan) !== plan) return undefined;
    const isTodo = form.directive.exec(rest)?.[2]?.toUpperCase() === "TODO";
    return conclusion(plan, this.#failed + (not !== undefined && !isTodo ? 1 : 0));
  }

  #planned(count: number, comment: string): Verdict | undefined {
    this.begun = true;
    if (this.#plan !== undefined) return failure("the plan came twice");
    this.#plan = count;
    if (count > 0) return this.#check();
    return /^skip/i.test(comment) ? pass(`all tests are skipped: ${comment}`) : failure("no test is planned");
  }

  #result(ok: boolean, number: string | undefined, rest: string): Verdict | undefined {
    this.begun = true;
    this.#results += 1;
    const [, before, word, reason] = form.directive.exec(rest) ?? [];
    const directive = word?.toUpperCase();
    const failed = !ok && directive !== "TODO";
    if (failed) this.#failed += 1;
    const name = (before ?? rest)
      .replace(/\\([\\#])/g, "$1")
      .trim()
      .slice(0, maxTextLength);
    const said = directive ? { message: `${directive} ${reason ?? ""}`.trim().slice(0, maxTextLength) } : {};
    const status = failed ? "failed" : directive ? "skipped" : "passed";
    if (this.#cases.length < maxCases) {
      this.#cases.push({ suite: "", name: name || `test ${this.#results}`, time: 0, status, ...said });
      this.#diagnosed = { index: this.#cases.length - 1, text: "" };
    }
    if (number !== undefined && Number(number) !== this.#results)
      return failure(`test ${number} came instead of ${this.#results}: output was lost`);
    return this.#check();
  }

  #check(): Verdict | undefined {
    if (this.#plan === undefined || this.#results < this.#plan) return undefined;
    if (this.#ended || this.#results > this.#plan)
      return failure(`${this.#plan} tests are planned, but ${this.#results} came`);
    this.#ended = true;
    return conclusion(this.#plan, this.#failed);
  }

  /** Comments and YAML after a test are its details. */
  #diagnose(text: string): void {
    const last = this.#diagnosed;
    if (!last || !/^(?:#| {2})/.test(text) || last.text.length > maxDetailsLength) return;
    const one = this.#cases[last.index];
    last.text += `${text.replace(/^(?:# ?| {2})/, "").slice(0, maxTextLength)}\n`;
    if (one?.status === "failed") this.#cases[last.index] = { ...one, details: last.text };
  }
}

function conclusion(plan: number, failed: number): Verdict {
  return failed === 0 ? pass(`${plan} tests, none failed`) : failure(`${failed} of ${plan} tests failed`);
}
