/** The page of a device: its state, console, history, and builds. */
import type { DeviceStatus } from "#/lib/status.ts";
import { formatSize } from "#/lib/units.ts";
import type { AgentView } from "../agent-view.ts";
import { deviceView, runningBuild } from "../api/views.ts";
import { RequestError } from "../request.ts";
import { consoleSection, deviceTail } from "./console.ts";
import { type Html, html, layout } from "./html.ts";
import { ago, buildLink, count, deviceBadge, deviceUrl, finishedTable, progress, time } from "./parts.ts";

const maxBuilds = 50;

/** @throws RequestError 404 */
export async function devicePage(agent: AgentView, name: string): Promise<string> {
  const device = deviceView(agent, name);
  const feed = agent.feed(name);
  if (!feed) throw new RequestError(404, "no such device");
  const build = agent.builds.running.find(({ record }) => record.device === name);
  const running = build && runningBuild(agent, build);
  const recent = agent.builds
    .finished()
    .filter(({ node }) => node === name)
    .slice(0, maxBuilds);
  const now = new Date().toISOString();
  const { start, end, buildFrom } = feed;
  const main = html`<div id="live-part" data-live="" data-phase="${device.state}">
<h1><bdi>${name}</bdi> ${deviceBadge(device.state)}</h1>
<p class="cause">${device.reason ?? (running ? html`${buildLink(running)} ${progress(running, now)}` : device.who)}</p>
${facts(device, now)}
</div>
${consoleSection(
  {
    kind: "device",
    events: `${deviceUrl(name)}/events`,
    ...{ start, buildFrom, live: true },
    ...(await deviceTail(feed)),
  },
  html`<span class="quiet">Read only; shows the last ${formatSize(end - start)}.</span>`,
)}
<section id="history-section" aria-labelledby="history"><h2 id="history">History</h2>
<div class="scroll" tabindex="0" role="region" aria-label="History of the device"><table class="history">
<thead><tr><th scope="col">Since</th><th scope="col">State</th><th scope="col">Reason</th></tr></thead>
<tbody>${device.history.toReversed().map(({ at, state, reason }) => html`<tr><td>${time(at)}</td><td>${deviceBadge(state)}</td><td><bdi>${reason}</bdi></td></tr>`)}</tbody>
</table></div></section>
${recent.length > 0 && html`<section id="recent-section" aria-labelledby="recent"><h2 id="recent">Builds</h2>${finishedTable(recent, now, "Builds on this device", { node: false })}</section>`}`;
  return layout({ title: name, agent, scripts: ["page.ts", "console.ts"], main });
}

function facts(device: DeviceStatus, now: string): Html {
  const { received, sent, errors, lost } = device.counters;
  const rows: [string, Html | string | undefined][] = [
    ["Since", ago(device.since, now)],
    ["Classes", device.classes.join(", ")],
    ["Console", device.console],
    ["Port", device.port],
    ["Path", device.path === device.port ? undefined : (device.path ?? "not connected")],
    ["Failures in a row", `${device.failures}`],
    ["Received", formatSize(received)],
    ["Sent", formatSize(sent)],
    ["Line errors", count(errors)],
    ["Lost", formatSize(lost)],
  ];
  return html`<dl class="facts">${rows.map(([name, value]) => value && html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
