/** The page of a build: its result and why, test reports, artifacts, console, parameters. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import {
  compareTests,
  hasFailed,
  runsBefore,
  type TestTrend,
  type Trend,
  testKey,
  trendOf,
} from "#/builds/before.ts";
import type { LineIndexes } from "#/builds/console/line-index.ts";
import type { TestReport } from "#/builds/junit.ts";
import type { TestCase, TestStatus } from "#/builds/junit-reader.ts";
import { durationOf, type EndingKind } from "#/builds/record.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { captureFile } from "#/lib/capture.ts";
import { formatElapsed, formatSize } from "#/lib/units.ts";
import type { AgentView } from "../agent-view.ts";
import { type Artifact, type BuildView, buildView, readTestReport } from "../api/views.ts";
import { roughly } from "../browser/dates.ts";
import { changeRows, sourceLink } from "./change.ts";
import { buildTail, consoleSection } from "./console.ts";
import { type Html, html, layout, trusted } from "./html.ts";
import {
  ago,
  badge,
  boardSentence,
  buildLink,
  buildUrl,
  count,
  deviceUrl,
  jobUrl,
  phaseBadge,
  progress,
  resultBadge,
  resultTone,
  type Tone,
  time,
} from "./parts.ts";
import { excerptOf, whySection } from "./why.ts";

/** @throws RequestError 404 */
export async function buildPage(agent: AgentView, found: FoundBuild, indexes: LineIndexes): Promise<string> {
  const build = await buildView(agent, found);
  const tests = await readTestReport(found);
  const excerpt = await excerptOf(found, indexes);
  const { builds } = agent;
  const isRed = tests?.cases.some(hasFailed) ?? false;
  const trends =
    isRed && tests ? compareTests(tests.cases, await runsBefore(builds, found.summary)) : noTrends;
  const { bytes, tail, from } = await buildTail(found);
  const { job, number, running, description, artifacts } = build;
  const source = sourceLink(agent, build.change);
  const url = buildUrl(job, number);
  const now = new Date().toISOString();
  const main = html`<div id="live-part" data-live="" data-phase="${running?.phase}">
<header class="title">
<h1><a href="${jobUrl(job)}"><bdi>${job}</bdi></a>#${number} ${running ? phaseBadge(running) : resultBadge(build)}</h1>
${neighbours(agent, build)}
</header>
${running ? html`<p>${progress(running, now)}</p>` : html`<p class="cause">${build.ending?.reason}</p>`}
${await boardOrSoftware(agent, build)}
${whySection(tests, excerpt, source)}
${trendLine(trendOf(builds, found.summary), now)}
${description !== undefined && html`<div class="description">${trusted(description)}</div>`}
${stepList(build, now)}
${facts(agent, build, await captureSize(found))}
</div>
${tests && testsSection(job, tests, trends)}
${artifacts.length > 0 && artifactsSection(url, artifacts)}
${consoleSection(
  {
    kind: "build",
    events: `${url}/events`,
    api: `/api${url}`,
    plain: `${url}/console`,
    live: running !== undefined,
    tail,
    error: excerpt?.error,
    source,
    started: Date.parse(build.started ?? build.assigned),
  },
  consoleNote(bytes, build.console?.cut ?? 0, from),
)}
${parametersSection(build)}`;
  const word = running?.phase ?? build.result ?? "no result";
  return layout({
    title: `${word}: ${job}#${number}`,
    agent,
    scripts: ["page.ts", "console.ts"],
    main,
    tone: running ? "busy" : resultTone(build),
  });
}

/** How the board of a build that failed did with the job, and its siblings. */
async function boardOrSoftware(agent: AgentView, { job, device, ending }: BuildView): Promise<Html | false> {
  if (device === undefined || ending === undefined || ["passed", "stopped", "lost"].includes(ending.kind))
    return false;
  const record = await agent.boardRecord(device, job);
  if (!record || record.failed === 0) return false;
  const { suspicion, flaky } = record;
  return html`<p class="cause">${suspicion && badge("warn", "board is suspect")}${flaky && badge("warn", "job is flaky")} ${boardSentence(job, record)}</p>`;
}

/** Links to the previous and the next build of the job. */
function neighbours({ builds }: AgentView, { job, number }: BuildView): Html {
  const numbers = builds.list({ job }).map((build) => build.number);
  const older = Math.max(...numbers.filter((other) => other < number));
  const newer = Math.min(...numbers.filter((other) => other > number));
  return html`<nav aria-label="Builds of this job">${Number.isFinite(older) && html`<a rel="prev" href="${buildUrl(job, older)}">#${older}</a>`} ${Number.isFinite(newer) && html`<a rel="next" href="${buildUrl(job, newer)}">#${newer}</a>`}</nav>`;
}

const stepEndings: Readonly<Record<EndingKind, string>> = {
  ...{ passed: "passed", failed: "failed", infrastructure: "failed" },
  ...{ stopped: "stopped", "timed-out": "timed out", lost: "lost" },
};

/** What it did and how long each took; the step that it ended in is told apart. */
function stepList({ steps = [], ending }: BuildView, now: string): Html | false {
  if (steps.length === 0) return false;
  const endedIn =
    ending && ending.kind !== "passed" ? steps.findLast(({ name }) => name !== "collect") : undefined;
  return html`<ol class="steps" aria-label="Steps">${steps.map((step) => {
    const { name, started, took } = step;
    const time =
      took === undefined
        ? html`<span data-since="${started}">for ${roughly(Date.parse(now) - Date.parse(started))}</span>`
        : formatElapsed(took);
    return html`<li${step === endedIn && html` class="ended"`}>${name} <span class="quiet">${time}</span>${step === endedIn && html` ${stepEndings[ending?.kind ?? "failed"]}`}</li>`;
  })}</ol>`;
}

async function captureSize({ folder }: FoundBuild): Promise<number | undefined> {
  return stat(join(folder, captureFile)).then(
    (found) => found.size,
    () => undefined,
  );
}

function facts(agent: AgentView, build: BuildView, capture: number | undefined): Html {
  const took = durationOf(build);
  const { exitCode, signal, cause } = build.ending ?? {};
  const rows: [string, Html | string | false | undefined][] = [
    ...changeRows(agent, build.change),
    ["Duration", took === undefined ? undefined : formatElapsed(took)],
    ["Node", build.device ? html`<a href="${deviceUrl(build.device)}">${build.device}</a>` : build.node],
    ["Requested", build.target],
    ["Classes", build.labels.join(", ")],
    ["Exit code", exitCode === undefined ? undefined : `${exitCode}`],
    ["Signal", signal],
    ["Cause", cause],
    ...(build.inputs ?? []).map(({ name, size, sha256 }): [string, Html] => [
      `Input ${name}`,
      html`${formatSize(size)}, SHA-256 <code>${sha256}</code>`,
    ]),
    ["Assigned", time(build.assigned)],
    ["Started", build.started && time(build.started)],
    ["Ended", build.ended && time(build.ended)],
    ["Job server", build.server],
    ["Executor", `${build.executor}`],
    [
      "Serial line",
      capture !== undefined &&
        html`<a href="${buildUrl(build.job, build.number)}/serial">capture</a>, ${formatSize(capture)}`,
    ],
    ["UUID", html`<code>${build.uuid}</code>`],
  ];
  return html`<details class="more" open><summary>Details</summary><dl class="facts">${rows.map(([name, value]) => value && html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></details>
${build.warnings?.map((warning) => html`<p class="warning">${warning}</p>`)}`;
}

const testOrder: readonly TestStatus[] = ["failed", "error", "skipped", "passed"];
const testTones: Record<TestStatus, Tone> = { failed: "bad", error: "bad", skipped: "idle", passed: "good" };
/** Failures are shown beyond this limit too. */
const maxTestRows = 1000;

/** When the job last passed, and since when it fails. */
function trendLine(trend: Trend | undefined, now: string): Html | false {
  if (!trend) return false;
  const { lastPassed, failsSince, failures } = trend;
  const since =
    failures === 1
      ? "the first failure"
      : html`${count(failures)} failures in a row, since ${buildLink(failsSince, false)}`;
  const before = lastPassed
    ? html`passed last in ${buildLink(lastPassed, false)}${lastPassed.ended && html`, ${ago(lastPassed.ended, now)}`}`
    : "no build before it passed";
  return html`<p class="trend">${since}; ${before}</p>`;
}

type Trends = ReadonlyMap<string, TestTrend>;
const noTrends: Trends = new Map();

function trendBadge(job: string, trend: TestTrend | undefined): Html | false {
  switch (trend?.kind) {
    case "new":
      return badge("bad", "new");
    case "known":
      return html`<span class="quiet">since <a href="${buildUrl(job, trend.since)}">#${trend.since}</a></span>`;
    case "flaky":
      return badge("warn", `flaky: failed in ${trend.failed} of ${trend.of} before`);
    case undefined:
      return false;
  }
}

function testsSection(job: string, { totals, cases, warnings }: TestReport, trends: Trends): Html {
  const sorted = testOrder.flatMap((status) => cases.filter((test) => test.status === status));
  const failed = totals.failures + totals.errors;
  const shown = sorted.slice(0, Math.max(maxTestRows, failed));
  const passed = totals.tests - failed - totals.skipped;
  return html`<section id="tests-section" aria-labelledby="tests"><h2 id="tests">Tests</h2>
<p class="totals">${failed > 0 && badge("bad", `${count(failed)} failed`)} ${badge(passed > 0 ? "good" : "idle", `${count(passed)} passed`)} ${totals.skipped > 0 && badge("idle", `${count(totals.skipped)} skipped`)} <span class="quiet">${count(totals.tests)} in ${formatElapsed(totals.time * 1000)}</span></p>
${warnings.map((warning) => html`<p class="warning">${warning}</p>`)}
<div class="scroll" tabindex="0" role="region" aria-label="Test cases"><table class="tests">
<thead><tr><th scope="col">Status</th><th scope="col">Test</th><th scope="col" class="number">Time</th></tr></thead>
<tbody>${shown.map((test) => testRow(test, trendBadge(job, trends.get(testKey(test)))))}</tbody>
</table></div>
${shown.length < sorted.length && html`<p class="note">${count(sorted.length - shown.length)} more tests that didn't fail are not shown.</p>`}
</section>`;
}

function testRow(test: TestCase, trend: Html | false): Html {
  const { status, suite, classname, name, time, message, details } = test;
  const group = classname !== "" ? classname : suite;
  const hasDetails = details !== undefined && details !== message;
  return html`<tr><td>${badge(testTones[status], status)}</td><td><bdi>${name}</bdi> <span class="quiet"><bdi>${group}</bdi></span> ${trend}${message !== undefined && html`<div class="message">${message}</div>`}${hasDetails && html`<details><summary>Details</summary><pre class="text-block">${details}</pre></details>`}</td><td class="number">${formatElapsed(time * 1000)}</td></tr>`;
}

function artifactsSection(url: string, artifacts: readonly Artifact[]): Html {
  return html`<section id="artifacts-section" aria-labelledby="artifacts"><h2 id="artifacts">Artifacts</h2>
<table class="artifacts">
<thead><tr><th scope="col">File</th><th scope="col">Type</th><th scope="col" class="number">Size</th></tr></thead>
<tbody>${artifacts.map(
    ({ path, type, size: bytes, stale }) =>
      html`<tr><th scope="row"><a href="${url}/artifacts/${path.split("/").map(encodeURIComponent).join("/")}"><bdi>${path}</bdi></a>${stale && html` <span class="quiet">older than the build</span>`}</th><td>${type}</td><td class="number">${formatSize(bytes)}</td></tr>`,
  )}</tbody>
</table></section>`;
}

function consoleNote(bytes: number, cut: number, from: number): Html {
  return html`<span class="quiet">${formatSize(bytes)}${cut > 0 && `; ${formatSize(cut)} more were dropped`}</span>${from > 0 && html` <span class="tail-only quiet">· shown from byte ${count(from)} on</span>`}`;
}

function parametersSection({ parameters }: BuildView): Html | false {
  const entries = Object.entries(parameters);
  if (entries.length === 0) return false;
  return html`<section id="parameters-section" aria-labelledby="parameters"><h2 id="parameters">Parameters</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Parameters of the build"><table class="parameters">
<thead><tr><th scope="col">Name</th><th scope="col">Value</th></tr></thead>
<tbody>${entries.map(([name, value]) => html`<tr><th scope="row"><bdi>${name}</bdi></th><td><bdi>${value}</bdi></td></tr>`)}</tbody>
</table></div></section>`;
}
