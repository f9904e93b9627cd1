/**
 * Tables. In a pipe each row is one line, whole and without colours; on a terminal a table fits its width: columns are left out,
 * cells cut or wrapped, as their columns allow. Cells may come from outside: nothing in them acts on a terminal.
 */
import { printable } from "#/lib/text.ts";

interface FlexibleColumn {
  readonly title?: string;
  /** How it gives way on a narrow terminal. */
  readonly fit: "cut" | "wrap" | "drop";
}

/** A title alone: its cells stay whole as long as another column can give way. */
export type Column = string | FlexibleColumn;

export type Tone = "good" | "bad" | "warning" | "active";

export type Cell = string | { readonly text: string; readonly tone: Tone | undefined };

/** What is printed on; `columns` is absent where nothing has to fit. */
export interface Sheet {
  readonly columns?: number;
  readonly isColoured: boolean;
}

const gap = "  ";
/** What columns that give way keep, and what each column keeps on a terminal that is too narrow for that, too. */
const fairChars = { cut: 16, wrap: 32 };
const minChars = 8;

/** ECMA-48, SGR: bold for titles; red, green, yellow, cyan. */
const bold = 1;
const colours: Readonly<Record<Tone, number>> = { bad: 31, good: 32, warning: 33, active: 36 };

/** Standard output as it is now: a terminal's window may change. https://no-color.org */
function currentSheet(): Sheet {
  const { isTTY, columns } = process.stdout;
  if (!isTTY) return { isColoured: false };
  const isColoured = !process.env.NO_COLOR && process.env.TERM !== "dumb";
  return columns > 0 ? { columns, isColoured } : { isColoured };
}

/** @returns on a terminal such as "3 h ago", elsewhere the time itself */
export function timeText(iso: string): string {
  return process.stdout.isTTY ? ago(Date.now() - Date.parse(iso)) : iso;
}

function ago(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86_400)} d ago`;
}

const tones: ReadonlyMap<string, Tone> = new Map([
  ...["SUCCESS", "ready", "free", "up", "ok"].map((word) => [word, "good"] as const),
  ...["FAILURE", "TIMED_OUT", "BAD", "away", "absent", "recovering", "quarantined"].map(
    (word) => [word, "bad"] as const,
  ),
  ...["ABORTED", "paused", "held", "draining", "note"].map((word) => [word, "warning"] as const),
  ...["running", "busy"].map((word) => [word, "active"] as const),
]);

/** A result or a state, in its colour. The word says it all without it. */
export function stateCell(text: string): Cell {
  return { text, tone: tones.get(text.split(" ", 1)[0] ?? "") };
}

/** @param options `indent`: spaces before each line */
export function table(
  given: readonly Column[],
  rows: readonly (readonly Cell[])[],
  { indent = 0, sheet = currentSheet() }: { readonly indent?: number; readonly sheet?: Sheet } = {},
): string {
  const columns = given.map((column) => (typeof column === "string" ? { title: column } : column));
  const cells = rows.map((row) =>
    columns.map((_, index) => {
      const cell = row[index] ?? "";
      const { text, tone } = typeof cell === "string" ? { text: cell, tone: undefined } : cell;
      return { text: printable(text), tone };
    }),
  );
  const natural = columns.map(({ title = "" }, index) =>
    Math.max(title.length, ...cells.map((row) => textWidth(row[index]?.text ?? ""))),
  );
  const limit = sheet.columns === undefined ? undefined : sheet.columns - indent;
  const widths = limit === undefined ? natural : fitted(columns, natural, limit);
  const lines = cells.flatMap((row) => {
    const parts = row.map(({ text }, index) => partsOf(text, columns[index], widths[index] ?? 0));
    const height = Math.max(1, ...parts.map((part, index) => (widths[index] === 0 ? 0 : part.length)));
    return Array.from({ length: height }, (_, line) =>
      joined(
        row.map(({ tone }, index) => ({ text: parts[index]?.[line] ?? "", style: tone && colours[tone] })),
        widths,
        sheet,
      ),
    );
  });
  const hasTitles = columns.some(({ title = "" }) => title !== "");
  const head = columns.map(({ title = "" }, index) => ({
    ...{ text: title.slice(0, widths[index]), style: bold },
  }));
  return [...(hasTitles ? [joined(head, widths, sheet)] : []), ...lines]
    .map((line) => `${" ".repeat(indent)}${line}\n`)
    .join("");
}

/** @returns the columns' widths; 0: it is left out */
function fitted(
  columns: readonly Partial<FlexibleColumn>[],
  natural: readonly number[],
  limit: number,
): number[] {
  const kept = [...natural];
  const fairOf = (index: number) => {
    const { fit } = columns[index] ?? {};
    return fit === "cut" || fit === "wrap" ? fairChars[fit] : undefined;
  };
  const total = (widths: readonly number[]) => {
    const shown = widths.filter((width) => width > 0);
    return shown.reduce((sum, width) => sum + width, gap.length * Math.max(0, shown.length - 1));
  };
  const fair = () => kept.map((width, index) => Math.min(width, fairOf(index) ?? width));
  for (let index = columns.length - 1; index >= 0 && total(fair()) > limit; index--)
    if (columns[index]?.fit === "drop") kept[index] = 0;
  shrink(kept, total, limit, fairOf);
  shrink(kept, total, limit, () => minChars);
  return kept;
}

/** Takes from the widest column that has more than its least until all fit. @param leastOf undefined: it stays as it is */
function shrink(
  widths: number[],
  total: (widths: readonly number[]) => number,
  limit: number,
  leastOf: (index: number) => number | undefined,
): void {
  while (total(widths) > limit) {
    let widest = -1;
    for (const [index, width] of widths.entries())
      if (width > (leastOf(index) ?? width) && width > (widths[widest] ?? 0)) widest = index;
    if (widest < 0) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
}

function partsOf(text: string, column: Partial<FlexibleColumn> | undefined, width: number): string[] {
  if (textWidth(text) <= width) return [text];
  return column?.fit === "cut" ? [cut(text, width)] : wrapped(text, width);
}

function cut(text: string, width: number): string {
  return width < 1 ? "" : `${take(text, width - 1)}…`;
}

/** At spaces, and within words that are longer than a line. */
function wrapped(text: string, width: number): string[] {
  if (width < 1) return [];
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (textWidth(longer) <= width) {
      line = longer;
      continue;
    }
    if (line !== "") lines.push(line);
    line = word;
    while (textWidth(line) > width) {
      // A wide character needs two columns.
      const part = take(line, width) || String.fromCodePoint(line.codePointAt(0) ?? 0);
      lines.push(part);
      line = line.slice(part.length);
    }
  }
  return line === "" ? lines : [...lines, line];
}

function joined(
  cells: readonly { readonly text: string; readonly style: number | undefined }[],
  widths: readonly number[],
  { isColoured }: Sheet,
): string {
  const shown = cells
    .map((cell, index) => ({ ...cell, width: widths[index] ?? 0 }))
    .filter(({ width }) => width > 0);
  const last = shown.findLastIndex(({ text }) => text !== "");
  return shown
    .slice(0, last + 1)
    .map(({ text, style, width }, index) => {
      const padding = index === last ? "" : " ".repeat(Math.max(0, width - textWidth(text)));
      const isStyled = isColoured && style !== undefined && text !== "";
      return (isStyled ? `\u001b[${style}m${text}\u001b[0m` : text) + padding;
    })
    .join(gap);
}

const segmenter = new Intl.Segmenter();
/** Two columns on a terminal: East Asian scripts, and symbols that are shown as pictures. */
const wide =
  /[\p{sc=Han}\p{sc=Hangul}\p{sc=Hiragana}\p{sc=Katakana}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60]/u;

function textWidth(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length;
  let width = 0;
  for (const { segment } of segmenter.segment(text)) width += wide.test(segment) ? 2 : 1;
  return width;
}

/** @returns the start of the text, up to so many columns */
function take(text: string, width: number): string {
  let taken = "";
  let left = width;
  for (const { segment } of segmenter.segment(text)) {
    left -= textWidth(segment);
    if (left < 0) break;
    taken += segment;
  }
  return taken;
}
