/** The frame of every page: head, landmarks, navigation. */
import type { AgentView } from "../agent-view.ts";
import { assetPath } from "../assets.ts";
import { type Html, html } from "./html.ts";

export interface Layout {
  readonly title: string;
  readonly agent: AgentView;
  /** File names in browser/. */
  readonly scripts?: readonly string[];
  readonly main: Html;
}

export function layout({ title, agent, scripts = [], main }: Layout): string {
  const { name, version } = agent.status();
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · ${name}</title>
<link rel="icon" href="${assetPath("icon.svg")}" type="image/svg+xml">
<link rel="stylesheet" href="${assetPath("style.css")}">
<link rel="stylesheet" href="${assetPath("console.css")}">
${scripts.map((name) => html`<script type="module" src="${assetPath(name)}"></script>`)}
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header class="top">
<a class="brand" href="/">${name}</a>
<nav aria-label="Site"><a href="/">Overview</a> <a href="/api/openapi.json">API</a> <a href="/metrics">Metrics</a></nav>
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
