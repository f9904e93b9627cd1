/** The overview: nodes and their executors, what runs, what ran, the boards. */
import type { AgentStatus, NodeStatus, ServerStatus } from "#/status.ts";
import { buildLink, finishedTable, runningTable } from "./builds-table.ts";
import { ago, deviceUrl, size } from "./format.ts";
import { type Html, html } from "./html.ts";
import { layout } from "./layout.ts";
import type { OverviewModel } from "./models.ts";
import { badge, deviceBadge, phaseBadge } from "./state.ts";

export function overviewPage(model: OverviewModel): string {
  const { status, running, recent, devices, now } = model;
  const main = html`<div id="live-part" class="columns" data-live="/events">
<header class="all"><h1>${model.name} ${life(status.state)}</h1>${servers(status.servers)}</header>
<section aria-labelledby="running"><h2 id="running">Running</h2>
${running.length > 0 ? runningTable(running, now) : html`<p class="none">No build runs.</p>`}
</section>
<section aria-labelledby="nodes"><h2 id="nodes">Nodes</h2>
${nodes(status.nodes, new Set(devices.map(({ name }) => name)))}
</section>
${devices.length > 0 && html`<section aria-labelledby="devices"><h2 id="devices">Devices</h2>${deviceTable(model)}</section>`}
<section class="right" aria-labelledby="recent"><h2 id="recent">Recent builds</h2>
${recent.length > 0 ? finishedTable(recent, now, "Recent builds") : html`<p class="none">No build has ended yet.</p>`}
</section>
</div>`;
  return layout({ title: "Overview", frame: model, scripts: ["page.ts"], main });
}

/** States of a line to a job server in which it can hand out builds. */
const connected: ReadonlySet<string> = new Set(["awake", "grabbing", "working", "asleep"]);

/** Running goes without saying. */
function life(state: AgentStatus["state"]): Html | false {
  return state !== "running" && badge("warn", state);
}

function servers(list: readonly ServerStatus[]): Html {
  return html`<ul class="servers">${list.map(({ server, state, status }) => html`<li>${connected.has(state) ? badge("good", "connected") : badge("warn", state)} ${server} <span class="quiet">${status}</span></li>`)}</ul>`;
}

function nodes(list: readonly NodeStatus[], devices: ReadonlySet<string>): Html {
  return html`<table>
<caption class="hidden">Nodes</caption>
<thead><tr><th scope="col">Node</th><th scope="col">State</th><th scope="col">Classes</th><th scope="col">Executors</th></tr></thead>
<tbody>${list.map(
    ({ name, state, reasons, classes, executors }) =>
      html`<tr><th scope="row">${devices.has(name) ? html`<a href="${deviceUrl(name)}">${name}</a>` : name}</th><td>${badge(state === "ready" ? "good" : "warn", state)}${reasons.map((reason) => html`<div class="reason">${reason}</div>`)}</td><td>${classes.join(", ")}</td><td>${executors.map(({ index, build }) => html`<div class="executor"><span class="quiet">${index}</span> ${build ? html`${buildLink(build)} ${phaseBadge(build)}` : "idle"}</div>`)}</td></tr>`,
  )}</tbody>
</table>`;
}

function deviceTable({ devices, now }: OverviewModel): Html {
  return html`<table>
<caption class="hidden">Devices</caption>
<thead><tr><th scope="col">Device</th><th scope="col">State</th><th scope="col">Since</th><th scope="col">Port</th><th scope="col" class="number">Received</th></tr></thead>
<tbody>${devices.map(
    (device) =>
      html`<tr><th scope="row"><a href="${deviceUrl(device.name)}">${device.name}</a></th><td>${deviceBadge(device.state)}${device.reason !== undefined && html`<div class="reason">${device.reason}</div>`}${device.who !== undefined && html`<div class="reason">${device.who}</div>`}</td><td>${ago(device.since, now)}</td><td>${device.path ?? device.port}</td><td class="number">${size(device.counters.received)}</td></tr>`,
  )}</tbody>
</table>`;
}
