/** What the pages share: times, links, badges, and tables of builds. */
import { type BuildSummary, durationOf, type EndingKind } from "#/builds/record.ts";
import type { DeviceStatus, Suspicion } from "#/lib/status.ts";
import { formatElapsed } from "#/lib/units.ts";
import type { AgentView } from "../agent-view.ts";
import type { ListedBuild, RunningBuild } from "../api/views.ts";
import { roughly } from "../browser/dates.ts";
import { changeCell } from "./change.ts";
import { type Html, html } from "./html.ts";

export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** A point in time, in UTC. The browser script converts it to the local time zone. */
export function time(iso: string): Html {
  return html`<time datetime="${iso}">${iso.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC")}</time>`;
}

/** How long ago something was. The browser script keeps it up to date. */
export function ago(iso: string, now: string): Html {
  const past = Date.parse(now) - Date.parse(iso);
  return html`<time datetime="${iso}" data-ago="" title="${iso}">${roughly(past)} ago</time>`;
}

export const jobUrl = (job: string): string => `/jobs/${encodeURIComponent(job)}`;
export const buildUrl = (job: string, number: number): string =>
  `/builds/${encodeURIComponent(job)}/${number}`;
export const deviceUrl = (name: string): string => `/devices/${encodeURIComponent(name)}`;

/** The colour of a badge, which only repeats what its word says. */
export type Tone = "good" | "bad" | "warn" | "busy" | "idle";

export function badge(tone: Tone, word: string): Html {
  return html`<span class="badge ${tone}">${word}</span>`;
}

const resultTones: Readonly<Record<EndingKind, Tone>> = {
  ...{ passed: "good", failed: "bad", "timed-out": "bad" },
  ...{ stopped: "idle", infrastructure: "warn", lost: "warn" },
};
const resultWords: Readonly<Record<EndingKind, string>> = {
  ...{ passed: "SUCCESS", failed: "FAILURE", "timed-out": "TIMED_OUT" },
  ...{ stopped: "ABORTED", infrastructure: "NO RESULT", lost: "LOST" },
};

export function resultTone({ ending }: Pick<BuildSummary, "ending">): Tone {
  return ending ? resultTones[ending.kind] : "idle";
}

/** The result of a build as sent to the client, or why none was sent. */
export function resultBadge(build: Pick<BuildSummary, "result" | "ending">): Html {
  const { result, ending } = build;
  if (!ending) return badge("idle", "?");
  const isUnsent = ending.kind === "infrastructure" || ending.kind === "lost";
  const word = resultWords[ending.kind];
  return badge(resultTone(build), isUnsent ? word : (result ?? word));
}

export function phaseBadge({ phase }: Pick<RunningBuild, "phase">): Html {
  return badge(phase === "stopping" ? "warn" : "busy", phase);
}

const deviceTones: Record<DeviceStatus["state"], Tone> = {
  absent: "idle",
  opening: "warn",
  proving: "warn",
  ready: "good",
  busy: "busy",
  recovering: "warn",
  quarantined: "bad",
  paused: "idle",
};

export function deviceBadge(state: DeviceStatus["state"]): Html {
  return badge(deviceTones[state], state);
}

/** Such as "This board failed 7 of its last 20 boot-smoke, its siblings 1 of 140 in 30 days." */
export function boardSentence(
  job: string,
  counts: Pick<Suspicion, "failed" | "builds" | "siblingFailed" | "siblingBuilds"> & {
    readonly days?: number;
  },
): Html {
  const { failed, builds, siblingFailed, siblingBuilds, days } = counts;
  const siblings = html`, its siblings ${count(siblingFailed)} of ${count(siblingBuilds)} in ${days ?? 30} days`;
  return html`This board failed ${count(failed)} ${days === undefined ? "of its last" : "of"} ${count(builds)} <bdi>${job}</bdi>${siblingBuilds > 0 && siblings}.`;
}

/** A sentence with commands between backquotes. */
export function inCode(text: string): Html {
  return html`${text.split("`").map((part, index) => (index % 2 === 0 ? part : html`<code>${part}</code>`))}`;
}

/** The optional columns of a table of builds. */
export interface Columns {
  readonly job?: boolean;
  readonly node?: boolean;
}

/** What builds test has a column if any of them says so. */
export function buildTable(
  agent: AgentView,
  builds: readonly ListedBuild[],
  now: string,
  caption: string,
  { job = true, node = true }: Columns = {},
): Html {
  const change = builds.some((build) => build.change);
  return html`<table class="builds">
<caption class="hidden">${caption}</caption>
<thead><tr><th scope="col">Build</th><th scope="col">Result</th>${node && html`<th scope="col">Node</th>`}${change && html`<th scope="col" class="wide">Change</th>`}<th scope="col" class="number roomy">Duration</th><th scope="col" class="number">Ended</th><th scope="col" class="wide">Reason</th></tr></thead>
<tbody>${builds.map((build) => {
    const took = durationOf(build);
    return html`<tr data-key="${build.job}#${build.number}"><th scope="row">${buildLink(build, job)}${build.ending && build.ending.kind !== "passed" && html`<div class="narrow"><bdi>${build.ending.reason}</bdi></div>`}</th><td>${build.running ? phaseBadge(build.running) : resultBadge(build)}</td>${node && html`<td>${build.node}</td>`}${change && html`<td class="wide">${changeCell(agent, build.change)}</td>`}<td class="number roomy">${took !== undefined && formatElapsed(took)}</td><td class="number">${build.ended && ago(build.ended, now)}</td><td class="wide"><bdi>${build.ending?.kind !== "passed" && build.ending?.reason}</bdi></td></tr>`;
  })}</tbody>
</table>`;
}

export function buildLink({ job, number }: { job: string; number: number }, withJob = true): Html {
  return html`<a href="${buildUrl(job, number)}">${withJob && html`<bdi>${job}</bdi>`}#${number}</a>`;
}

/** The estimated rest of a running build, in milliseconds; negative if it is overdue. */
function remaining({ estimate, started, assigned }: RunningBuild, now: string): number | undefined {
  if (estimate === undefined) return undefined;
  return Date.parse(started ?? assigned) + estimate - Date.parse(now);
}

/** The progress of a running build, how long it has been running, and how much longer it should take. */
export function progress(build: RunningBuild, now: string): Html {
  const { job, number, estimate, started, assigned } = build;
  const since = started ?? assigned;
  const run = html`<span data-since="${since}">for ${roughly(Date.parse(now) - Date.parse(since))}</span>`;
  const left = remaining(build, now);
  // Without earlier runs, only the job itself can report progress.
  if (left === undefined && build.progress === 0) return html`<span class="progress">${run}</span>`;
  const bar = html`<progress max="100" value="${build.progress}" aria-label="Progress of ${job}#${number}">${build.progress}%</progress> <span class="percent">${build.progress}%</span>`;
  if (left === undefined || estimate === undefined) return html`<span class="progress">${bar} ${run}</span>`;
  const text =
    left > 0 ? `about ${roughly(left)} left` : `${roughly(-left)} over the usual ${roughly(estimate)}`;
  // The browser keeps counting down.
  const until = new Date(Date.parse(now) + left).toISOString();
  return html`<span class="progress">${bar} <span class="due" data-until="${until}" data-usual="${roughly(estimate)}">${text}</span></span>`;
}

export function runningTable(builds: readonly RunningBuild[], now: string): Html {
  return html`<table class="builds">
<caption class="hidden">Running builds</caption>
<thead><tr><th scope="col">Build</th><th scope="col">State</th><th scope="col">Node</th><th scope="col">Progress</th></tr></thead>
<tbody>${builds.map(
    (build) =>
      html`<tr data-key="${build.job}#${build.number}"><th scope="row">${buildLink(build)}</th><td>${phaseBadge(build)}</td><td>${build.node}</td><td class="fill">${progress(build, now)}</td></tr>`,
  )}</tbody>
</table>`;
}
