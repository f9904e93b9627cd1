/** The page of a device: how it is, how it was, what it says. */
import type { DeviceStatus } from "#/lib/status.ts";
import { buildLink, finishedTable, progress } from "./builds-table.ts";
import { consoleSection } from "./console.ts";
import { ago, count, deviceUrl, size, time } from "./format.ts";
import { type Html, html } from "./html.ts";
import { layout } from "./layout.ts";
import type { DeviceModel } from "./models.ts";
import { deviceBadge } from "./state.ts";

export function devicePage(model: DeviceModel): string {
  const { device, running, recent, now } = model;
  const { start, end, buildFrom, before, since } = model.console;
  const main = html`<div id="live-part" data-live="" data-phase="${device.state}">
<h1><bdi>${device.name}</bdi> ${deviceBadge(device.state)}</h1>
<p class="cause">${device.reason ?? (running ? html`${buildLink(running)} ${progress(running, now)}` : device.who)}</p>
${facts(device, now)}
</div>
${consoleSection(
  {
    kind: "device",
    events: `${deviceUrl(device.name)}/events`,
    bytes: end,
    start,
    ...(buildFrom !== undefined && { buildFrom }),
    live: true,
    before,
    tail: since,
  },
  html`<span class="quiet">Read only; the last ${size(end - start)} are kept.</span>`,
)}
<section id="history-section" aria-labelledby="history"><h2 id="history">History</h2>
<div class="scroll" tabindex="0" role="region" aria-label="History of the device"><table class="history">
<thead><tr><th scope="col">Since</th><th scope="col">State</th><th scope="col">Reason</th></tr></thead>
<tbody>${device.history.toReversed().map(({ at, state, reason }) => html`<tr><td>${time(at)}</td><td>${deviceBadge(state)}</td><td><bdi>${reason}</bdi></td></tr>`)}</tbody>
</table></div></section>
${recent.length > 0 && html`<section id="recent-section" aria-labelledby="recent"><h2 id="recent">Builds</h2>${finishedTable(recent, now, "Builds on this device", { node: false })}</section>`}`;
  return layout({ title: device.name, frame: model, scripts: ["page.ts", "console.ts"], main });
}

function facts(device: DeviceStatus, now: string): Html {
  const { received, sent, errors, lost } = device.counters;
  const rows: [string, Html | string | undefined][] = [
    ["Since", ago(device.since, now)],
    ["Classes", device.classes.join(", ")],
    ["Console", device.console],
    ["Port", device.port],
    ["At", device.path === device.port ? undefined : (device.path ?? "not there")],
    ["Failures in a row", `${device.failures}`],
    ["Received", size(received)],
    ["Sent", size(sent)],
    ["Line errors", count(errors)],
    ["Lost", size(lost)],
  ];
  return html`<dl class="facts">${rows.map(([name, value]) => value && html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
