/** Times, durations and sizes for people. Times are in UTC until the browser script converts them. */
import { type Html, html } from "./html.ts";

/** Milliseconds as "850 ms", "12.3 s", "4 min 05 s", "3 h 07 min", "2 d 4 h". */
export function span(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const tenths = Math.round(ms / 100);
  if (tenths < 600) return `${(tenths / 10).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  const min = Math.floor(s / 60);
  if (min < 24 * 60) return `${Math.floor(min / 60)} h ${two(min % 60)} min`;
  return `${Math.floor(min / 1440)} d ${Math.floor((min % 1440) / 60)} h`;
}

const two = (value: number): string => String(value).padStart(2, "0");

/** A duration in its largest unit, for estimates and for the past. */
export function roughly(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 36 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

/** Bytes as "512 B", "1.5 KiB", "20 MiB". */
export function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[power - 1]}`;
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
