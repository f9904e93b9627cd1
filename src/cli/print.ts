/** How commands print: tables that line up, and text from outside made harmless for a terminal. */

/** Rows as lines whose columns line up; the last column isn't padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

/** Text from outside on one line of a terminal: control characters, which could move the cursor, are shown as escapes. */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones meant
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
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
