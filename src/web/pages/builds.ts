/** `/builds`: all builds that are kept, by filters, a page at a time. */
import { type BuildFilter, type FilterName, filters } from "#/builds/filter.ts";
import type { AgentView } from "../agent-view.ts";
import { listBuildViews } from "../api/views.ts";
import { type Html, html, layout } from "./html.ts";
import { buildTable, count } from "./parts.ts";

const buildsOnPage = 100;
/** Those with a field of their own; the others work in the address. */
const fields: readonly FilterName[] = [
  "job",
  "result",
  "node",
  "class",
  "project",
  "change",
  "branch",
  "commit",
  "since",
];

/** @param page from 1 */
export function buildsPage(
  agent: AgentView,
  filter: BuildFilter,
  query: Readonly<Record<string, string>>,
  page: number,
): string {
  const found = listBuildViews(agent, filter);
  const from = (page - 1) * buildsOnPage;
  const shown = found.slice(from, from + buildsOnPage);
  const now = new Date().toISOString();
  const range =
    shown.length === 0
      ? "No builds match."
      : `${count(from + 1)} to ${count(from + shown.length)} of ${count(found.length)}, newest first.`;
  const main = html`<h1>Builds</h1>
<form class="filters" method="get" action="/builds" role="search" aria-label="Filter builds">
${fields.map((name) => html`<label>${name} <input name="${name}" value="${query[name] ?? ""}" title="${filters[name]}"></label>`)}
<button type="submit">Filter</button> <a href="/builds">Clear</a>
</form>
<div id="live-part" data-live="/events">
<p class="quiet" role="status">${range}</p>
${shown.length > 0 && buildTable(agent, shown, now, "Builds")}
<nav aria-label="Pages">${page > 1 && pageLink(query, page - 1, "prev", "Newer builds")} ${found.length > from + shown.length && pageLink(query, page + 1, "next", "Older builds")}</nav>
</div>`;
  return layout({ title: "Builds", agent, scripts: ["page.ts"], main });
}

function pageLink(query: Readonly<Record<string, string>>, page: number, rel: string, text: string): Html {
  const { page: _, ...rest } = query;
  const given = Object.entries(rest).filter(([, value]) => value !== "");
  return html`<a rel="${rel}" href="/builds?${new URLSearchParams([...given, ["page", `${page}`]]).toString()}">${text}</a>`;
}
