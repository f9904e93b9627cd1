/** Test reports as a table, failures first. */
import type { TestCase, TestReport, TestStatus } from "#/builds/junit.ts";
import { count, span } from "./format.ts";
import { type Html, html } from "./html.ts";
import { badge, type Tone } from "./state.ts";

const order: readonly TestStatus[] = ["failed", "error", "skipped", "passed"];
const tones: Record<TestStatus, Tone> = { failed: "bad", error: "bad", skipped: "idle", passed: "good" };
/** Rows of passed and skipped tests; failures are always shown. */
const most = 1000;

export function testsSection({ totals, cases, warnings }: TestReport): Html {
  const sorted = order.flatMap((status) => cases.filter((one) => one.status === status));
  const bad = totals.failures + totals.errors;
  const shown = sorted.slice(0, Math.max(most, bad));
  const passed = totals.tests - bad - totals.skipped;
  return html`<section id="tests-section" aria-labelledby="tests"><h2 id="tests">Tests</h2>
<p class="totals">${bad > 0 && badge("bad", `${count(bad)} failed`)} ${badge(passed > 0 ? "good" : "idle", `${count(passed)} passed`)} ${totals.skipped > 0 && badge("idle", `${count(totals.skipped)} skipped`)} <span class="quiet">${count(totals.tests)} in ${span(totals.time * 1000)}</span></p>
${warnings.map((warning) => html`<p class="warning">${warning}</p>`)}
<div class="scroll" tabindex="0" role="region" aria-label="Test cases"><table class="tests">
<thead><tr><th scope="col">Status</th><th scope="col">Test</th><th scope="col" class="number">Time</th></tr></thead>
<tbody>${shown.map(row)}</tbody>
</table></div>
${shown.length < sorted.length && html`<p class="note">${count(sorted.length - shown.length)} more that passed aren't shown.</p>`}
</section>`;
}

function row({ status, suite, classname, name, time, message, details }: TestCase): Html {
  const group = classname !== "" ? classname : suite;
  const more = details !== undefined && details !== message;
  return html`<tr><td>${badge(tones[status], status)}</td><td><bdi>${name}</bdi> <span class="quiet"><bdi>${group}</bdi></span>${message !== undefined && html`<div class="message">${message}</div>`}${more && html`<details><summary>Details</summary><pre class="text-block">${details}</pre></details>`}</td><td class="number">${span(time * 1000)}</td></tr>`;
}
