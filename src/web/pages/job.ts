/** The page of a job: how its builds went. */
import { finishedTable, runningTable } from "./builds-table.ts";
import { count, jobUrl } from "./format.ts";
import { html } from "./html.ts";
import { layout } from "./layout.ts";
import type { JobModel } from "./models.ts";
import { durationPlot } from "./plot.ts";

export function jobPage(model: JobModel): string {
  const { job, config, running, builds, total, before, now } = model;
  // A build that was stopped, or fell with its node, says nothing of the job.
  const judged = builds.filter(({ ending }) =>
    ["passed", "failed", "timed-out"].includes(ending?.kind ?? ""),
  );
  const passed = judged.filter(({ ending }) => ending?.kind === "passed").length;
  const main = html`<div id="live-part" data-live="/events" data-job="${job}">
<h1><bdi>${job}</bdi></h1>
<p class="quiet">${config ? `${config.kind}${config.nodes ? `, on ${config.nodes.join(", ")}` : ""}` : "Not configured any more."} · ${count(total)} builds kept${judged.length > 0 && ` · ${Math.round((100 * passed) / judged.length)} % of the ${judged.length} shown passed`}</p>
${running.length > 0 && html`<section aria-labelledby="running"><h2 id="running">Running</h2>${runningTable(running, now)}</section>`}
${builds.length > 1 && html`<section aria-labelledby="durations"><h2 id="durations">Durations</h2>${durationPlot(builds)}</section>`}
<section aria-labelledby="history"><h2 id="history">Builds</h2>
${builds.length > 0 ? finishedTable(builds, now, "Builds of this job", { job: false }) : html`<p class="none">No build has ended yet.</p>`}
${before !== undefined && html`<p><a rel="next" href="${jobUrl(job)}?before=${before}">Older builds</a></p>`}
</section>
</div>`;
  return layout({ title: job, frame: model, scripts: ["page.ts"], main });
}
