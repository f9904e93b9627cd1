/** The overview: job servers, nodes, devices, running and recent builds. */
import {
  type AgentStatus,
  type DeviceStatus,
  describeLease,
  type NodeStatus,
  type ServerStatus,
} from "#/lib/status.ts";
import { formatSize } from "#/lib/units.ts";
import { type AgentView, isConnected } from "../agent-view.ts";
import { type StatusView, statusView } from "../api/views.ts";
import { type Html, html, layout } from "./html.ts";
import { ago, badge, buildLink, buildTable, deviceBadge, deviceUrl, jobUrl, runningTable } from "./parts.ts";

export function overviewPage(agent: AgentView): string {
  const status = statusView(agent);
  const { running, recent, devices } = status;
  const now = new Date().toISOString();
  const main = html`<div id="live-part" class="columns" data-live="/events">
<header class="all"><h1>${status.name} ${agentState(status.state)}</h1>${servers(status.servers)}</header>
<div class="left">
<section aria-labelledby="running"><h2 id="running">Running</h2>
${running.length > 0 ? runningTable(running, now) : html`<p class="none">No builds are running.</p>`}
</section>
<section aria-labelledby="nodes"><h2 id="nodes">Nodes</h2>
${nodeTable(status.nodes, devices)}
</section>
${devices.length > 0 && html`<section aria-labelledby="devices"><h2 id="devices">Devices</h2>${deviceTable(devices, now)}</section>`}
${jobList(status)}
</div>
<section aria-labelledby="recent"><h2 id="recent">Recent builds</h2>
${recent.length > 0 ? html`${buildTable(agent, recent, now, "Recent builds")}<p><a href="/builds">All builds</a></p>` : html`<p class="none">No builds have finished yet.</p>`}
</section>
</div>`;
  return layout({ title: "Overview", agent, scripts: ["page.ts"], main });
}

/** All jobs that a node offers now, or that ran recently. */
function jobList({ nodes, running, recent }: StatusView): Html | false {
  const offered = nodes.flatMap(({ functions }) => functions.map((name) => name.split(":")[1] ?? ""));
  const names = new Set([...offered, ...[...running, ...recent].map(({ job }) => job)]);
  if (names.size === 0) return false;
  return html`<section aria-labelledby="jobs"><h2 id="jobs">Jobs</h2>
<ul class="inline">${[...names].sort().map((name) => html`<li><a href="${jobUrl(name)}"><bdi>${name}</bdi></a></li>`)}</ul></section>`;
}

/** Running is the normal state and gets no badge. */
function agentState(state: AgentStatus["state"]): Html | false {
  return state !== "running" && badge("warn", state);
}

function servers(list: readonly ServerStatus[]): Html {
  return html`<ul class="inline">${list.map(
    (link) =>
      html`<li>${isConnected(link) ? badge("good", "connected") : badge("warn", link.state)} ${link.server} <span class="quiet">${link.status}</span></li>`,
  )}</ul>`;
}

function nodeTable(list: readonly NodeStatus[], devices: readonly DeviceStatus[]): Html {
  return html`<table>
<caption class="hidden">Nodes</caption>
<thead><tr><th scope="col">Node</th><th scope="col">State</th><th scope="col">Executors</th><th scope="col" class="wide">Classes</th></tr></thead>
<tbody>${list.map((node) => {
    const device = devices.find(({ name }) => name === node.name);
    const name = device ? html`<a href="${deviceUrl(node.name)}">${node.name}</a>` : node.name;
    return html`<tr data-key="node ${node.name}"><th scope="row">${name}</th><td class="fill">${nodeState(node)}</td><td>${executors(node)}</td><td class="wide">${node.classes.join(", ")}</td></tr>`;
  })}</tbody>
</table>`;
}

function nodeState({ state, reasons }: NodeStatus): Html {
  return html`${badge(state === "ready" ? "good" : "warn", state)}${reasons.map((reason) => html`<div class="reason">${reason}</div>`)}`;
}

function executors({ executors, waiting }: NodeStatus): Html[] {
  return [
    ...executors.map(({ build, blockedBy }) => {
      if (build?.lease)
        return html`${buildLink(build)} <span class="quiet">${describeLease(build.lease)}</span>`;
      if (build) return buildLink(build);
      return blockedBy
        ? badge("warn", `held by processes ${blockedBy.join(", ")}`)
        : html`<span class="quiet">idle</span>`;
    }),
    ...waiting.map((build) => html`${buildLink(build)} <span class="quiet">waiting</span>`),
  ].map((content) => html`<div class="executor">${content}</div>`);
}

/** Without the reason for a state, which the node table shows. */
function deviceTable(devices: readonly DeviceStatus[], now: string): Html {
  return html`<table>
<caption class="hidden">Devices</caption>
<thead><tr><th scope="col">Device</th><th scope="col">State</th><th scope="col">Since</th><th scope="col">Port</th><th scope="col" class="number wide">Received</th></tr></thead>
<tbody>${devices.map(
    ({ name, state, who, since, path, port, counters }) =>
      html`<tr data-key="device ${name}"><th scope="row"><a href="${deviceUrl(name)}">${name}</a></th><td>${deviceBadge(state)} <span class="quiet">${who}</span></td><td>${ago(since, now)}</td><td class="fill">${path ?? port}</td><td class="number wide">${formatSize(counters.received)}</td></tr>`,
  )}</tbody>
</table>`;
}
