/** How commands print: tables that line up, a configuration in a line. */
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

/** Which files, and how many jobs. */
export function describeConfig({ files, jobs }: Config): string {
  return `${files.join(", ")}: ${jobs.size} ${jobs.size === 1 ? "job" : "jobs"}`;
}
