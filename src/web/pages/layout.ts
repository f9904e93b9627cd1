/** The frame of every page: head, landmarks, navigation. */
import { assetPath } from "../assets/assets.ts";
import { type Html, html } from "./html.ts";
import type { Frame } from "./models.ts";

export interface Layout {
  readonly title: string;
  readonly frame?: Frame;
  /** The names of the page's scripts. */
  readonly scripts?: readonly string[];
  readonly main: Html;
}

/** The page as text. */
export function layout({ title, frame, scripts = [], main }: Layout): string {
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}${frame && ` · ${frame.name}`}</title>
<link rel="icon" href="${assetPath("icon.svg")}" type="image/svg+xml">
<link rel="stylesheet" href="${assetPath("style.css")}">
<link rel="stylesheet" href="${assetPath("console.css")}">
${scripts.map((name) => html`<script type="module" src="${assetPath(name)}"></script>`)}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
<a class="brand" href="/">${frame ? frame.name : "labgear"}</a>
<nav aria-label="Site"><a href="/">Overview</a> <a href="/api/openapi.json">API</a> <a href="/metrics">Metrics</a></nav>
<span class="live" id="live" role="status"></span>
</header>
<main id="main" tabindex="-1">
${main}
</main>
<footer>labgear${frame && ` ${frame.version}`}</footer>
</body>
</html>
`;
  return page.html;
}
