/** What a build tests, with the links that the configuration makes of it. */
import { type Change, changeTitle } from "#/builds/change.ts";
import type { AgentView } from "../agent-view.ts";
import { type Html, html } from "./html.ts";

/** The facts of a change, in the order in which they are shown. */
const shown = ["project", "change", "branch", "pipeline", "ref", "commit"] as const;

/** Rows for the facts of a build. */
export function changeRows(agent: AgentView, change: Change | undefined): [string, Html][] {
  if (!change) return [];
  return shown.flatMap((key): [string, Html][] => {
    const value = change[key];
    if (value === undefined) return [];
    const text = key === "change" && change.patchset ? `${value},${change.patchset}` : value;
    const word = key === "commit" ? html`<code>${text}</code>` : html`<bdi>${text}</bdi>`;
    return [
      [
        key === "change" ? "Change" : `${key[0]?.toUpperCase()}${key.slice(1)}`,
        linked(agent, change, key, word),
      ],
    ];
  });
}

/** A change in a list: one line, linked to its review. */
export function changeCell(agent: AgentView, change: Change | undefined): Html | false {
  if (!change) return false;
  const key = change.change === undefined ? "commit" : "change";
  return linked(agent, change, key, html`<bdi>${changeTitle(change)}</bdi>`);
}

function linked(agent: AgentView, change: Change, key: (typeof shown)[number], content: Html): Html {
  const url = fill(agent.links()[key], change);
  return url === undefined ? content : html`<a href="${url}">${content}</a>`;
}

/** The address of a file's line in the source that was tested: {path} and {line} are for the console to fill. */
export function sourceLink(agent: AgentView, change: Change | undefined): string | undefined {
  return fill(agent.links().source, change ?? {}, ["path", "line"]);
}

/**
 * @param kept names of parts that stay as they are
 * @returns undefined if there is no template, or the build lacks a part of it
 */
function fill(template: string | undefined, change: Change, kept: string[] = []): string | undefined {
  let isWhole = true;
  const url = template?.replace(/\{(\w+)\}/g, (part, name: string) => {
    if (kept.includes(name)) return part;
    const value = change[name as keyof Change];
    // Dots would lead to another place than the template says.
    if (value === undefined || value.split("/").some((step) => step === "." || step === ".."))
      isWhole = false;
    // A parameter may have lone surrogates, which have no encoding.
    return (value ?? "").toWellFormed().split("/").map(encodeURIComponent).join("/");
  });
  return isWhole ? url : undefined;
}
