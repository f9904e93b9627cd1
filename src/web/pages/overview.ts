/** The overview: job servers, nodes with their boards, what waits, running and recent builds. */
import { whatEnds } from "#/lib/board-history.ts";
import {
  type AgentStatus,
  type BuildStatus,
  type DeviceStatus,
  describeLease,
  type NodeStatus,
  type ServerStatus,
} from "#/lib/status.ts";
import { type AgentView, isConnected } from "../agent-view.ts";
import { type StatusView, statusView } from "../api/views.ts";
import { roughly } from "../browser/dates.ts";
import { type Html, html, layout } from "./html.ts";
import {
  ago,
  badge,
  buildLink,
  buildTable,
  deviceBadge,
  deviceUrl,
  inCode,
  jobUrl,
  runningTable,
} from "./parts.ts";

/** @param wall for a screen on the wall: larger, without what a click would be needed for */
export function overviewPage(agent: AgentView, wall: boolean): string {
  const status = statusView(agent);
  const { running, recent, devices } = status;
  const waiting = status.nodes.flatMap(({ waiting }) => waiting);
  const now = new Date().toISOString();
  const main = html`<div id="live-part" class="columns" data-live="/events">
<header class="all"><h1>${status.name} ${agentState(status.state)}</h1>${servers(status.servers)}</header>
<div class="left">
<section aria-labelledby="nodes"><h2 id="nodes">Nodes</h2>
${nodeTable(status.nodes, devices, now)}
</section>
${waiting.length > 0 && html`<section aria-labelledby="waiting"><h2 id="waiting">Waiting</h2>${waitingTable(waiting, now)}</section>`}
<section aria-labelledby="running"><h2 id="running">Running</h2>
${running.length > 0 ? runningTable(running, now) : html`<p class="none">No builds are running.</p>`}
</section>
${!wall && jobList(status)}
</div>
<section aria-labelledby="recent"><h2 id="recent">Recent builds</h2>
${recent.length > 0 ? html`${buildTable(agent, recent, now, "Recent builds")}<p><a href="/builds">All builds</a></p>` : html`<p class="none">No builds have finished yet.</p>`}
</section>
</div>`;
  return layout({ title: "Overview", agent, scripts: ["page.ts"], main, wall });
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

interface Row {
  readonly node: NodeStatus;
  /** Absent: it is the host. */
  readonly device: DeviceStatus | undefined;
}

/** The host and its boards; what is out of order comes first, the longest first. */
function nodeTable(nodes: readonly NodeStatus[], devices: readonly DeviceStatus[], now: string): Html {
  const rows = nodes.map((node): Row => ({ node, device: devices.find(({ name }) => name === node.name) }));
  const rank = ({ node, device }: Row): number => {
    if (device?.outage) return device.outage.state === "paused" ? 1 : 0;
    return node.state === "held" ? 1 : 2;
  };
  const since = ({ device }: Row): string => device?.outage?.since ?? "";
  rows.sort((a, b) => rank(a) - rank(b) || since(a).localeCompare(since(b)));
  return html`<table>
<caption class="hidden">Nodes, those out of order first</caption>
<thead><tr><th scope="col">Node</th><th scope="col">State</th><th scope="col" class="roomy">Since</th><th scope="col">Executors</th><th scope="col" class="wide">Classes</th></tr></thead>
<tbody>${rows.map(({ node, device }) => {
    const name = device ? html`<a href="${deviceUrl(node.name)}">${node.name}</a>` : node.name;
    return html`<tr data-key="node ${node.name}"><th scope="row">${name}</th><td class="fill">${nodeState(node, device)}</td><td class="roomy">${device && ago(device.since, now)}</td><td>${executors(node)}</td><td class="wide">${node.classes.join(", ")}</td></tr>`;
  })}</tbody>
</table>`;
}

function nodeState({ state, reasons }: NodeStatus, device: DeviceStatus | undefined): Html {
  const word = device ? deviceBadge(device.state) : badge(state === "ready" ? "good" : "warn", state);
  const ending =
    device?.outage && html`<div class="quiet">${inCode(whatEnds(device.name, device.outage))}</div>`;
  return html`${word} ${device?.suspect && badge("warn", "suspect")}${reasons.map((reason) => html`<div class="reason">${reason}</div>`)}${ending}`;
}

/** Builds that the agent has taken, and whose executors or boards are busy. */
function waitingTable(builds: readonly BuildStatus[], now: string): Html {
  return html`<table>
<caption class="hidden">Builds that wait</caption>
<thead><tr><th scope="col">Build</th><th scope="col">Waits</th></tr></thead>
<tbody>${builds.map(
    (build) =>
      html`<tr data-key="waiting ${build.job}#${build.number}"><th scope="row">${buildLink(build)}</th><td><span data-since="${build.assigned}">for ${roughly(Date.parse(now) - Date.parse(build.assigned))}</span></td></tr>`,
  )}</tbody>
</table>`;
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
