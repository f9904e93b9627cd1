/** How long builds took, as a picture: a bar a build, the oldest on the left. */

import type { BuildSummary } from "#/builds/record.ts";
import { durationOf } from "#/builds/record.ts";
import { buildUrl, span } from "./format.ts";
import { type Html, html } from "./html.ts";

const width = 960;
const height = 90;
const most = 120;

export function durationPlot(newestFirst: readonly BuildSummary[]): Html {
  const builds = newestFirst.slice(0, most).toReversed();
  const durations = builds.map((build) => durationOf(build) ?? 0);
  const top = Math.max(1, ...durations);
  const step = width / Math.max(60, builds.length);
  const bars = builds.map((build, index) => {
    const tall = Math.max(2, ((durations[index] ?? 0) / top) * height);
    const text = `#${build.number}: ${build.result ?? build.ending?.kind}, ${span(durations[index] ?? 0)}`;
    return html`<a href="${buildUrl(build.job, build.number)}" aria-label="${text}"><rect class="bar ${build.ending?.kind}" x="${(index * step).toFixed(1)}" y="${(height - tall).toFixed(1)}" width="${Math.max(1, step - 2).toFixed(1)}" height="${tall.toFixed(1)}"><title>${text}</title></rect></a>`;
  });
  return html`<figure class="plot"><svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="group" aria-label="Durations of the last ${builds.length} builds">${bars}</svg><figcaption>The longest took ${span(top)}; the oldest is on the left.</figcaption></figure>`;
}
