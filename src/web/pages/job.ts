/** The page of a job: its builds, how many passed, and how long they took. */
import { type BuildSummary, durationOf } from "#/builds/record.ts";
import { formatElapsed } from "#/lib/units.ts";
import type { AgentView } from "../agent-view.ts";
import { runningBuild } from "../api/views.ts";
import { RequestError } from "../request.ts";
import { type Html, html, layout } from "./html.ts";
import { buildTable, buildUrl, count, jobUrl, runningTable } from "./parts.ts";

const maxBuilds = 50;

/**
 * @param before shows only builds with a lower number
 * @throws RequestError 404
 */
export function jobPage(agent: AgentView, job: string, before: number | undefined): string {
  const config = agent.jobs().find(({ name }) => name === job);
  const finished = agent.builds.finished(job);
  const running = agent.builds.running
    .filter(({ record }) => record.job === job)
    .map((build) => runningBuild(agent, build));
  if (!config && finished.length === 0 && running.length === 0)
    throw new RequestError(404, "no such job, and no builds of it");
  const older = finished.filter(({ number }) => before === undefined || number < before);
  const builds = older.slice(0, maxBuilds);
  const last = older.length > maxBuilds ? builds.at(-1)?.number : undefined;
  // Stopped builds and infrastructure failures say nothing about the job.
  const judged = builds.filter(({ ending }) =>
    ["passed", "failed", "timed-out"].includes(ending?.kind ?? ""),
  );
  const passed = judged.filter(({ ending }) => ending?.kind === "passed").length;
  const now = new Date().toISOString();
  const main = html`<div id="live-part" data-live="/events" data-job="${job}">
<h1><bdi>${job}</bdi></h1>
<p class="quiet">${config ? `${config.kind}${config.nodes ? `, on ${config.nodes.join(", ")}` : ""}` : "No longer configured"} · ${count(finished.length)} ${finished.length === 1 ? "build" : "builds"} kept${judged.length > 0 && ` · ${Math.round((100 * passed) / judged.length)}% of the ${judged.length} shown passed`}</p>
${running.length > 0 && html`<section aria-labelledby="running"><h2 id="running">Running</h2>${runningTable(running, now)}</section>`}
${builds.length > 1 && html`<section aria-labelledby="durations"><h2 id="durations">Durations</h2>${durationPlot(builds)}</section>`}
<section aria-labelledby="history"><h2 id="history">Builds</h2>
${builds.length > 0 ? buildTable(agent, builds, now, "Builds of this job", { job: false }) : html`<p class="none">No builds have finished yet.</p>`}
${last !== undefined && html`<p><a rel="next" href="${jobUrl(job)}?before=${last}">Older builds</a></p>`}
</section>
</div>`;
  return layout({ title: job, agent, scripts: ["page.ts"], main });
}

const plotWidth = 960;
const plotHeight = 90;

/** A bar for each build, the oldest on the left. */
function durationPlot(newestFirst: readonly BuildSummary[]): Html {
  const builds = newestFirst.toReversed();
  const durations = builds.map((build) => durationOf(build) ?? 0);
  const longest = Math.max(1, ...durations);
  const step = plotWidth / Math.max(60, builds.length);
  const bars = builds.map(({ job, number, result, ending }, index) => {
    const duration = durations[index] ?? 0;
    const height = Math.max(2, (duration / longest) * plotHeight);
    const text = `#${number}: ${result ?? ending?.kind}, ${formatElapsed(duration)}`;
    return html`<a href="${buildUrl(job, number)}" aria-label="${text}"><rect class="bar ${ending?.kind}" x="${(index * step).toFixed(1)}" y="${(plotHeight - height).toFixed(1)}" width="${Math.max(1, step - 2).toFixed(1)}" height="${height.toFixed(1)}"><title>${text}</title></rect></a>`;
  });
  return html`<figure class="plot"><svg viewBox="0 0 ${plotWidth} ${plotHeight}" preserveAspectRatio="none" role="group" aria-label="Durations of the last ${builds.length} builds">${bars}</svg><figcaption>Oldest build on the left. The longest took ${formatElapsed(longest)}.</figcaption></figure>`;
}
