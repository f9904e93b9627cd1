/** Times for people. Times are in UTC until the browser script converts them. */
import { type Html, html } from "./html.ts";

/** A duration in its largest unit, for estimates and for the past. */
export function roughly(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 36 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** A point in time. The browser script converts it to the local time zone. */
export function time(iso: string): Html {
  return html`<time datetime="${iso}">${iso.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC")}</time>`;
}

/** How long ago something was. The browser script keeps it up to date. */
export function ago(iso: string, now: string): Html {
  const past = Date.parse(now) - Date.parse(iso);
  return html`<time datetime="${iso}" data-ago="" title="${iso}">${roughly(past)} ago</time>`;
}

export const jobUrl = (job: string): string => `/jobs/${encodeURIComponent(job)}`;
export const buildUrl = (job: string, number: number): string =>
  `/builds/${encodeURIComponent(job)}/${number}`;
export const deviceUrl = (name: string): string => `/devices/${encodeURIComponent(name)}`;
