/** How commands print: tables that line up, durations, a configuration in a line. */
import type { Config } from "#/config/model.ts";

/** Rows as lines whose columns line up; the last column isn't padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  const line = (row: readonly string[]) =>
    row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ");
  return rows.map((row) => `${line(row).trimEnd()}\n`).join("");
}

/** A duration for people: `850 ms`, `12.3 s`, `4m05s`, `2h03m`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  const pad = (value: number) => String(Math.floor(value)).padStart(2, "0");
  if (minutes < 60) return `${minutes}m${pad((ms % 60_000) / 1000)}s`;
  return `${Math.floor(minutes / 60)}h${pad(minutes % 60)}m`;
}

/** Which files, and how many jobs. */
export function describeConfig({ files, jobs }: Config): string {
  return `${files.join(", ")}: ${jobs.size} ${jobs.size === 1 ? "job" : "jobs"}`;
}
