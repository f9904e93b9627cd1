/** The page of a build: how it went and why, what it left, its console. */

import type { BuildRecord } from "#/builds/record.ts";
import { durationOf } from "#/builds/record.ts";
import { progress } from "./builds-table.ts";
import { consoleSection } from "./console.ts";
import { buildUrl, count, deviceUrl, jobUrl, size, span, time } from "./format.ts";
import { type Html, html, trusted } from "./html.ts";
import { layout } from "./layout.ts";
import type { ArtifactModel, BuildModel } from "./models.ts";
import { phaseBadge, resultBadge } from "./state.ts";
import { testsSection } from "./tests.ts";

export function buildPage(model: BuildModel): string {
  const { record, running, description, tests, artifacts } = model;
  const url = buildUrl(record.job, record.number);
  const main = html`<div id="live-part" data-live="" data-phase="${running?.phase}">
<header class="title">
<h1><a href="${jobUrl(record.job)}"><bdi>${record.job}</bdi></a>#${record.number} ${running ? phaseBadge(running) : resultBadge(record)}</h1>
${neighbours(model)}
</header>
${running ? html`<p>${progress(running, model.now)}</p>` : html`<p class="cause">${record.ending?.reason}</p>`}
${description !== undefined && html`<div class="description">${trusted(description)}</div>`}
${facts(record)}
</div>
${tests && testsSection(tests)}
${artifacts.length > 0 && artifactsSection(url, artifacts)}
${consoleSection(
  {
    kind: "build",
    events: `${url}/events`,
    api: `/api${url}`,
    plain: `${url}/console`,
    bytes: model.console.bytes,
    live: running !== undefined,
    tail: model.console.tail,
  },
  consoleNote(model),
)}
${parameters(record)}`;
  return layout({
    title: `${record.job}#${record.number}`,
    frame: model,
    scripts: ["page.ts", "console.ts"],
    main,
  });
}

function neighbours({ record, older, newer }: BuildModel): Html {
  return html`<nav aria-label="Builds of this job">${older !== undefined && html`<a rel="prev" href="${buildUrl(record.job, older)}">#${older}</a>`} ${newer !== undefined && html`<a rel="next" href="${buildUrl(record.job, newer)}">#${newer}</a>`}</nav>`;
}

function facts(record: BuildRecord): Html {
  const took = durationOf(record);
  const { exitCode, signal, cause } = record.ending ?? {};
  const rows: [string, Html | string | undefined][] = [
    ["Took", took === undefined ? undefined : span(took)],
    ["Node", record.device ? html`<a href="${deviceUrl(record.device)}">${record.device}</a>` : record.node],
    ["Asked for", record.target],
    ["Classes", record.labels.join(", ")],
    ["Exit code", exitCode === undefined ? undefined : `${exitCode}`],
    ["Signal", signal],
    ["Cause", cause],
    ["Commit", record.commit && html`<code>${record.commit}</code>`],
    ["Assigned", time(record.assigned)],
    ["Started", record.started && time(record.started)],
    ["Ended", record.ended && time(record.ended)],
    ["Job server", record.server],
    ["Executor", `${record.executor}`],
    ["UUID", html`<code>${record.uuid}</code>`],
  ];
  return html`<dl class="facts">${rows.map(([name, value]) => value && html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
${record.warnings?.map((warning) => html`<p class="warning">${warning}</p>`)}`;
}

function parameters({ parameters }: BuildRecord): Html | false {
  const entries = Object.entries(parameters);
  if (entries.length === 0) return false;
  return html`<section id="parameters-section" aria-labelledby="parameters"><h2 id="parameters">Parameters</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Parameters of the build"><table class="parameters">
<thead><tr><th scope="col">Name</th><th scope="col">Value</th></tr></thead>
<tbody>${entries.map(([name, value]) => html`<tr><th scope="row"><bdi>${name}</bdi></th><td><bdi>${value}</bdi></td></tr>`)}</tbody>
</table></div></section>`;
}

function artifactsSection(url: string, artifacts: readonly ArtifactModel[]): Html {
  return html`<section id="artifacts-section" aria-labelledby="artifacts"><h2 id="artifacts">Artifacts</h2>
<table class="artifacts">
<thead><tr><th scope="col">File</th><th scope="col">Type</th><th scope="col" class="number">Size</th></tr></thead>
<tbody>${artifacts.map(
    ({ path, type, size: bytes }) =>
      html`<tr><th scope="row"><a href="${url}/artifacts/${path.split("/").map(encodeURIComponent).join("/")}"><bdi>${path}</bdi></a></th><td>${type}</td><td class="number">${size(bytes)}</td></tr>`,
  )}</tbody>
</table></section>`;
}

function consoleNote({ console: { bytes, cut, from } }: BuildModel): Html {
  return html`<span class="quiet">${size(bytes)}${cut > 0 && `, and ${size(cut)} that were not kept`}</span>${from > 0 && html` <span class="tail-only quiet">· the end of it is shown from byte ${count(from)}</span>`}`;
}
