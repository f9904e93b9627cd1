/** HTML templates with a type of their own, so that every other value is escaped, and the frame of every page. */
import type { AgentView } from "../agent-view.ts";
import { assetPath } from "../assets.ts";

/** Safe to insert into a page. */
export interface Html {
  readonly html: string;
}

type Value = Html | string | number | false | undefined | readonly Value[];

/** Control characters, which HTML can't contain, and characters that reverse the direction of text and so make it look like another. */
const unprintable = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]/gu;
const kept: ReadonlySet<string> = new Set(["\t", "\n"]);

/** Escapes text for the content of an element or a quoted attribute. Unprintable characters become U+FFFD. */
function escapeText(text: string): string {
  return text
    .toWellFormed()
    .replace(unprintable, (char) => (kept.has(char) ? char : "\ufffd"))
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

/** A template tag: escapes text, joins lists, leaves out `false` and `undefined`. Attributes must be quoted. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  return { html: String.raw({ raw: strings }, ...values.map(render)) };
}

/** Marks HTML that is already sanitized. */
export function trusted(text: string): Html {
  return { html: text };
}

function render(value: Value): string {
  if (value === undefined || value === false) return "";
  if (typeof value === "string") return escapeText(value);
  if (typeof value === "number") return String(value);
  return "html" in value ? value.html : value.map(render).join("");
}

export interface Layout {
  readonly title: string;
  readonly agent: AgentView;
  /** File names in browser/. */
  readonly scripts?: readonly string[];
  readonly main: Html;
  /** Of the icon. */
  readonly tone?: "good" | "bad" | "warn" | "busy" | "idle";
  /** For a screen on the wall. */
  readonly wall?: boolean;
}

/** The whole page: head, landmarks, navigation. */
export function layout({ title, agent, scripts = [], main, wall = false, tone = "idle" }: Layout): string {
  const { name, version } = agent.status();
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · ${name}</title>
<link rel="icon" href="${assetPath(`icon-${tone}.svg`)}" type="image/svg+xml">
<link rel="stylesheet" href="${assetPath("style.css")}">
<link rel="stylesheet" href="${assetPath("console.css")}">
${scripts.map((name) => html`<script type="module" src="${assetPath(name)}"></script>`)}
</head>
<body${wall && html` class="wall"`}>
<a class="skip" href="#main">Skip to content</a>
<header class="top">
<a class="brand" href="/">${name}</a>
<nav aria-label="Site"><a href="/">Overview</a> <a href="/builds">Builds</a> <a href="/lab">Lab</a> <a href="/api/openapi.json">API</a> <a href="/metrics">Metrics</a></nav>
<span class="live" id="live" role="status"></span>
</header>
<main id="main" tabindex="-1">
${main}
</main>
<footer>labgear ${version}</footer>
</body>
</html>
`;
  return page.html;
}
