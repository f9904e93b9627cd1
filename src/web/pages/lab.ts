/** The page of the lab: all boxes of the job servers seen as one. All of it comes from outside. */
import type { LabBoard, LabBox, LabClass, LabQueued, LabView } from "#/lib/lab.ts";
import type { AgentView } from "../agent-view.ts";
import { type Html, html, layout } from "./html.ts";
import { ago, badge, count, type Tone } from "./parts.ts";

export function labPage(agent: AgentView, lab: LabView): string {
  const { time: now, servers, boxes, classes, boards, running, queued } = lab;
  const failing = servers.filter(({ error }) => error !== undefined);
  const sick = boards.filter(({ state }) => state === "sick").length;
  const main = html`<div id="live-part" class="columns" data-live="/lab/events">
<header class="all"><h1>The lab ${sick > 0 && badge("bad", `${count(sick)} out of order`)}</h1>
<ul class="inline">${failing.map(({ server, error }) => html`<li>${badge("bad", "no answer")} ${server} <span class="quiet">${error}</span></li>`)}</ul></header>
<div class="left">
<section aria-labelledby="classes"><h2 id="classes">Classes</h2>
${classes.length > 0 ? classTable(classes, now) : html`<p class="none">No box offers any.</p>`}
</section>
<section aria-labelledby="queued"><h2 id="queued">Waiting</h2>
${queued.length > 0 ? queuedTable(queued, now) : html`<p class="none">No build waits.</p>`}
</section>
<section aria-labelledby="boxes"><h2 id="boxes">Boxes</h2>
${boxes.length > 0 ? boxTable(boxes, now) : html`<p class="none">The job servers know none.</p>`}
</section>
</div>
<div>
<section aria-labelledby="boards"><h2 id="boards">Boards</h2>
${boards.length > 0 ? boardTable(boards, now) : html`<p class="none">No box has any.</p>`}
</section>
<section aria-labelledby="running"><h2 id="running">Running</h2>
${running.length > 0 ? html`<ul class="inline">${running.map(({ box, node, name, number, url }) => html`<li data-key="${box} ${name}#${number}">${link(url, `${name}#${number}`)} <span class="quiet">on ${node}${node !== box && `, ${box}`}</span></li>`)}</ul>` : html`<p class="none">No build runs.</p>`}
</section>
</div>
</div>`;
  return layout({ title: "The lab", agent, scripts: ["page.ts"], main });
}

/** @param url checked to be http or https */
function link(url: string | undefined, text: string): Html {
  return url === undefined ? html`<bdi>${text}</bdi>` : html`<a href="${url}"><bdi>${text}</bdi></a>`;
}

function number(value: number, tone: Tone): Html | string {
  return value > 0 ? badge(tone, count(value)) : "0";
}

function classTable(classes: readonly LabClass[], now: string): Html {
  return html`<table>
<caption class="hidden">Classes</caption>
<thead><tr><th scope="col">Class</th><th scope="col" class="number">Free</th><th scope="col" class="number">Busy</th><th scope="col" class="number">Sick</th><th scope="col" class="number">Held</th><th scope="col">Waiting</th></tr></thead>
<tbody>${classes.map(
    ({ name, free, busy, sick, held, waiting, waitingSince }) =>
      html`<tr data-key="class ${name}"><th scope="row"><bdi>${name}</bdi></th><td class="number">${number(free, "good")}</td><td class="number">${number(busy, "busy")}</td><td class="number">${number(sick, "bad")}</td><td class="number">${number(held, "idle")}</td><td>${waiting > 0 && html`${badge("warn", count(waiting))} ${waitingSince !== undefined && ago(waitingSince, now)}`}</td></tr>`,
  )}</tbody>
</table>`;
}

function queuedTable(queued: readonly LabQueued[], now: string): Html {
  return html`<table>
<caption class="hidden">Functions with builds that wait</caption>
<thead><tr><th scope="col">Function</th><th scope="col" class="number">Builds</th><th scope="col">Seen</th><th scope="col">Why</th></tr></thead>
<tbody>${queued.map(
    ({ server, function: name, count: builds, since, why, orphan }) =>
      html`<tr data-key="queued ${server} ${name}"><th scope="row"><bdi>${name}</bdi></th><td class="number">${count(builds)}</td><td>${ago(since, now)}</td><td class="fill">${orphan && badge("bad", "no node")} <bdi>${why}</bdi></td></tr>`,
  )}</tbody>
</table>`;
}

const boxTones: Record<LabBox["state"], Tone> = { up: "good", asked: "idle", away: "bad" };

function boxTable(boxes: readonly LabBox[], now: string): Html {
  return html`<table>
<caption class="hidden">Boxes</caption>
<thead><tr><th scope="col">Box</th><th scope="col">State</th><th scope="col">Since</th><th scope="col" class="wide">Host</th><th scope="col" class="wide">Version</th></tr></thead>
<tbody>${boxes.map(
    ({ name, state, seen, url, hostname, programVersion, life }) =>
      html`<tr data-key="box ${name}"><th scope="row">${link(url, name)}</th><td>${badge(boxTones[state], state)} <span class="quiet">${life !== "running" && life}</span></td><td>${state === "away" && (seen === undefined ? "not seen" : ago(seen, now))}</td><td class="wide"><bdi>${hostname}</bdi></td><td class="wide"><bdi>${programVersion}</bdi></td></tr>`,
  )}</tbody>
</table>`;
}

const boardTones: Record<LabBoard["state"], Tone> = { free: "good", busy: "busy", sick: "bad", held: "idle" };

function boardTable(boards: readonly LabBoard[], now: string): Html {
  return html`<table>
<caption class="hidden">Boards, those out of order first</caption>
<thead><tr><th scope="col">Board</th><th scope="col">State</th><th scope="col">Since</th><th scope="col">Why</th><th scope="col" class="wide">Classes</th></tr></thead>
<tbody>${boards.map(
    ({ box, name, classes, state, cause, reason, since, tries, who, url, suspect }) =>
      html`<tr data-key="board ${box} ${name}"><th scope="row">${link(url, name)} <span class="quiet"><bdi>${box}</bdi></span></th><td>${badge(boardTones[state], state)} ${suspect !== undefined && badge("warn", "suspect")}</td><td>${since !== undefined && state !== "free" && ago(since, now)}</td><td class="fill">${cause !== undefined && state !== "busy" && html`${cause} <span class="quiet">${tries !== undefined && (tries === 1 ? "1 try" : `${count(tries)} tries`)} ${who !== undefined && html`by <bdi>${who}</bdi>`}</span><div class="reason"><bdi>${reason}</bdi></div>`}${suspect !== undefined && html`<div class="reason"><bdi>${suspect}</bdi></div>`}</td><td class="wide"><bdi>${classes.join(", ")}</bdi></td></tr>`,
  )}</tbody>
</table>`;
}
