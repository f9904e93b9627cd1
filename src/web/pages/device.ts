/** The page of a device: its state, console, history, and builds. */
import { whatEnds } from "#/lib/board-history.ts";
import type { DeviceStatus } from "#/lib/status.ts";
import { formatElapsed, formatSize } from "#/lib/units.ts";
import type { AgentView } from "../agent-view.ts";
import { deviceView, type HistoryView, historyView, runningBuild } from "../api/views.ts";
import { RequestError } from "../request.ts";
import { consoleSection, deviceTail } from "./console.ts";
import { type Html, html, layout } from "./html.ts";
import {
  ago,
  badge,
  boardSentence,
  buildLink,
  buildTable,
  count,
  deviceBadge,
  deviceUrl,
  inCode,
  progress,
  time,
} from "./parts.ts";

const maxBuilds = 10;
const maxOutages = 100;
/** More than a year, so that a board's last year is all there. */
const historyDays = 400;

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
${device.suspect?.map(
  ({ job, ...counts }) =>
    html`<p class="warning">${badge("warn", "suspect")} ${boardSentence(job, counts)} That is more than chance explains.</p>`,
)}
${device.outage && html`<p class="cause">What ends it: ${inCode(whatEnds(name, device.outage))}</p>`}
${facts(device, now)}
</div>
${recent.length > 0 && html`<section id="recent-section" aria-labelledby="recent"><h2 id="recent">Builds</h2>${buildTable(agent, recent, now, "Builds on this device", { node: false })}<p><a href="/builds?node=${encodeURIComponent(name)}">All builds on it</a></p></section>`}
${consoleSection(
  {
    kind: "device",
    events: `${deviceUrl(name)}/events`,
    ...{ start, buildFrom, live: true },
    ...(await deviceTail(feed)),
  },
  html`<span class="quiet">Read only; shows the last ${formatSize(end - start)}.</span>`,
)}
${outageSection(await historyView(agent, name, historyDays), now)}
<section id="history-section" aria-labelledby="history"><h2 id="history">History</h2>
<div class="scroll" tabindex="0" role="region" aria-label="History of the device"><table class="history">
<thead><tr><th scope="col">Since</th><th scope="col">State</th><th scope="col">Reason</th></tr></thead>
<tbody>${device.history.toReversed().map(({ at, state, reason }) => html`<tr><td>${time(at)}</td><td>${deviceBadge(state)}</td><td><bdi>${reason}</bdi></td></tr>`)}</tbody>
</table></div></section>`;
  return layout({ title: name, agent, scripts: ["page.ts", "console.ts"], main });
}

function outageSection({ outages }: HistoryView, now: string): Html | false {
  if (outages.length === 0) return false;
  const shown = outages.slice(0, maxOutages);
  return html`<section id="outages-section" aria-labelledby="outages"><h2 id="outages">Outages</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Times in which the device took no builds"><table class="history">
<thead><tr><th scope="col">Since</th><th scope="col">For</th><th scope="col">State</th><th scope="col">Cause</th><th scope="col">Reason</th></tr></thead>
<tbody>${shown.map(
    ({ since, until, state, causes, reason, tries, who, builds }) =>
      html`<tr><td>${time(since)}</td><td>${formatElapsed(Date.parse(until ?? now) - Date.parse(since))}</td><td>${deviceBadge(state)}</td><td>${causes.join(", ")}${tries > 0 && html` <span class="quiet">${tries === 1 ? "1 try" : `${count(tries)} tries`}</span>`}${who !== undefined && html` <span class="quiet">by <bdi>${who}</bdi></span>`}</td><td><bdi>${reason}</bdi>${builds && html`<div class="quiet">after ${builds.map((build) => html`${ledTo(build)} `)}</div>`}</td></tr>`,
  )}</tbody>
</table></div>
${shown.length < outages.length && html`<p class="note">${count(outages.length - shown.length)} earlier ones are in the API.</p>`}
</section>`;
}

/** @param title JOB#NUMBER, from the history's file */
function ledTo(title: string): Html {
  const [, job, number] = /^(.+)#([1-9]\d{0,14})$/.exec(title) ?? [];
  return job === undefined ? html`<bdi>${title}</bdi>` : buildLink({ job, number: Number(number) });
}

function facts(device: DeviceStatus, now: string): Html {
  const { received, sent, errors, lost } = device.counters;
  const rows: [string, Html | string | undefined][] = [
    ["Since", ago(device.since, now)],
    ["Failed tries", device.outage?.tries ? count(device.outage.tries) : undefined],
    ["Paused by", device.outage?.who],
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
  return html`<details class="more" open><summary>Details</summary><dl class="facts">${rows.map(([name, value]) => value && html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></details>`;
}
