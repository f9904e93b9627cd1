/** The scripts and styles of the pages. Their URLs change with their content, so browsers can cache them forever. */
import { createHash } from "node:crypto";
import { browserFiles } from "./browser-files.ts";

export interface Asset {
  /** The media type. */
  readonly type: string;
  readonly body: string;
}

/** By the tone of a state, since a tab shows little else. */
const iconColours = {
  idle: "#1d5fa8",
  good: "#17803d",
  bad: "#b3202a",
  warn: "#946000",
  busy: "#6b3fb0",
} as const;
const icon = (colour: string) =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="${colour}"/><path d="M4 4.5 7 8l-3 3.5M8.5 11.5H12" stroke="#fff" stroke-width="1.8" fill="none" stroke-linecap="round" stroke-linejoin="round"/></svg>\n`;

const icons = Object.entries(iconColours).map(
  ([tone, colour]) => [`icon-${tone}.svg`, icon(colour)] as const,
);
const sources = new Map([...Object.entries(browserFiles), ...icons]);
/** One digest for all files, because the scripts import each other by relative name. */
const digest = createHash("sha256")
  .update(JSON.stringify([...sources]))
  .digest("hex")
  .slice(0, 16);
const types: Readonly<Record<string, string>> = {
  ts: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

/** The URL path of a file in browser/. */
export function assetPath(name: string): string {
  if (!sources.has(name)) throw new RangeError(`no such asset: ${name}`);
  return `/assets/${digest}/${name}`;
}

/** By URL path. */
export const assets: ReadonlyMap<string, Asset> = new Map(
  [...sources].map(([name, body]) => [
    assetPath(name),
    { type: types[name.slice(name.lastIndexOf(".") + 1)] ?? "text/plain", body },
  ]),
);
