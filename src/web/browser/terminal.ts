/** Renders one line of a console as a terminal would: ECMA-48 colours, carriage returns, backspaces, wide characters. */

import { safeAddress } from "./links.ts";

/** A terminal colour: one of sixteen defined in the style sheet, or RGB from 0 to 255. */
export type Color = number | readonly [red: number, green: number, blue: number];

/** How characters look. Never modified; every change makes a new object. */
export interface Style {
  readonly fg?: Color;
  readonly bg?: Color;
  readonly bold?: true;
  readonly dim?: true;
  readonly italic?: true;
  readonly underline?: true;
  readonly inverse?: true;
  readonly strike?: true;
  /** Where it leads (OSC 8); to the end of the line at most. */
  readonly link?: string;
}

/** Characters of one style. A wide character, which takes two columns, is a span of its own. */
export interface Span {
  text: string;
  readonly style: Style;
  readonly wide?: true;
}

interface Cell {
  readonly text: string;
  readonly style: Style;
  readonly width: 1 | 2;
}

export const plain: Style = {};

/** OSC 8; CSI; OSC and similar up to BEL or ST; other escape sequences; control characters. */
const special =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /\u001b\]8;[^;\u0007\u001b]*;([^\u0007\u001b]*)(?:\u0007|\u001b\\)|\u001b\[([0-?]*)[ -/]*([@-~])?|\u001b[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[ -/]*[0-~]?|([\u0000-\u001f\u007f-\u009f])/g;
/** Lines without any of these are plain text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\u0000-\u001f\u007f-\u009f]/;
const beyondLatin = /[\u0300-\u1fff\u2070-\u218f\u2300-\u24ff\u2600-\uffff]/;
/** Characters that take two columns: East Asian wide and fullwidth characters, and emoji. */
const wide =
  /^(?:[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\p{Emoji}\ufe0f)/u;
const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });
/** The cursor never moves further right. */
const maxColumns = 20_000;

/**
 * @param raw one line without its line end
 * @param from the style that the previous line ended with
 * @returns the visible text, and the style that the next line starts with
 */
export function showLine(raw: string, from: Style = plain): { spans: Span[]; style: Style } {
  const text = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
  if (!control.test(text) && !beyondLatin.test(text)) {
    return { spans: text === "" ? [] : [{ text, style: from }], style: from };
  }
  const line = new Line(from);
  let at = 0;
  for (const match of text.matchAll(special)) {
    line.write(text.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[1] !== undefined) line.link(match[1]);
    else if (match[3] !== undefined) line.command(match[3], match[2] ?? "");
    else if (match[4] !== undefined) line.control(match[4]);
  }
  line.write(text.slice(at));
  const spans = line.spans();
  line.link("");
  return { spans, style: line.style };
}

/** What a terminal would show of a line, without colours. */
export function visibleText(raw: string): string {
  return showLine(raw)
    .spans.map(({ text }) => text)
    .join("");
}

class Line {
  style: Style;
  readonly #cells: (Cell | undefined)[] = [];
  #column = 0;

  constructor(style: Style) {
    this.style = style;
  }

  write(text: string): void {
    if (text === "") return;
    if (!beyondLatin.test(text)) for (const char of text) this.#put(char, 1);
    else for (const { segment } of segmenter.segment(text)) this.#put(segment, wide.test(segment) ? 2 : 1);
  }

  #put(text: string, width: 1 | 2): void {
    // Overwriting half of a wide character erases it.
    if (this.#cells[this.#column - 1]?.width === 2) this.#cells[this.#column - 1] = undefined;
    this.#cells[this.#column] = { text, style: this.style, width };
    if (width === 2) this.#cells[this.#column + 1] = undefined;
    this.#move(this.#column + width);
  }

  #move(column: number): void {
    this.#column = Math.max(0, Math.min(maxColumns, column));
  }

  /** @param address empty: the link ends */
  link(address: string): void {
    const { link: before, ...style } = this.style;
    const link = safeAddress(address);
    if (link !== before) this.style = link === undefined ? style : { ...style, link };
  }

  control(char: string): void {
    if (char === "\r") this.#column = 0;
    else if (char === "\b") this.#move(this.#column - 1);
    else if (char === "\t") this.#move((Math.floor(this.#column / 8) + 1) * 8);
  }

  command(name: string, parameters: string): void {
    const first = Number.parseInt(parameters, 10) || 0;
    if (name === "m") this.style = restyle(this.style, parameters);
    else if (name === "K" || name === "J") this.#erase(first);
    else if (name === "C") this.#move(this.#column + Math.max(1, first));
    else if (name === "D") this.#move(this.#column - Math.max(1, first));
    else if (name === "G") this.#move(Math.max(1, first) - 1);
  }

  #erase(which: number): void {
    if (which === 0) this.#cells.length = Math.min(this.#cells.length, this.#column);
    else if (which === 1) this.#cells.fill(undefined, 0, this.#column + 1);
    else this.#cells.length = 0;
  }

  spans(): Span[] {
    const spans: Span[] = [];
    for (let column = 0; column < this.#cells.length; column++) {
      const cell = this.#cells[column] ?? { text: " ", style: plain, width: 1 };
      const last = spans.at(-1);
      if (cell.width === 2) {
        spans.push({ text: cell.text, style: cell.style, wide: true });
        column += 1;
      } else if (last && !last.wide && last.style === cell.style) last.text += cell.text;
      else spans.push({ text: cell.text, style: cell.style });
    }
    return spans;
  }
}

/** SGR (ECMA-48, 8.3.117), and the colours 38 and 48 of ITU T.416, with semicolons or colons. */
function restyle(from: Style, parameters: string): Style {
  if (!/^[\d;:]*$/.test(parameters)) return from;
  const style: { -readonly [key in keyof Style]: Style[key] } = { ...from };
  const codes = parameters.split(";");
  for (let at = 0; at < codes.length; at++) {
    const parts = (codes[at] ?? "").split(":").map(Number);
    const code = parts[0] ?? 0;
    if (code === 38 || code === 48) {
      const color = parts.length > 1 ? colorOf(parts.slice(1)) : colorOf(codes.slice(at + 1).map(Number));
      if (parts.length === 1) at += Number(codes[at + 1]) === 2 ? 4 : 2;
      if (color) style[code === 38 ? "fg" : "bg"] = color;
    } else if (code === 0) {
      for (const key of Object.keys(style) as (keyof Style)[]) if (key !== "link") delete style[key];
    } else if (code >= 30 && code <= 37) style.fg = code - 30;
    else if (code >= 90 && code <= 97) style.fg = code - 90 + 8;
    else if (code >= 40 && code <= 47) style.bg = code - 40;
    else if (code >= 100 && code <= 107) style.bg = code - 100 + 8;
    else if (code === 39) delete style.fg;
    else if (code === 49) delete style.bg;
    else if (code === 22) {
      delete style.bold;
      delete style.dim;
    } else {
      const on = switches[code];
      const off = switches[code - 20];
      if (on) style[on] = true;
      else if (code >= 23 && off) delete style[off];
    }
  }
  return style;
}

const switches: Partial<Record<number, "bold" | "dim" | "italic" | "underline" | "inverse" | "strike">> = {
  1: "bold",
  2: "dim",
  3: "italic",
  4: "underline",
  7: "inverse",
  9: "strike",
};

/** @param parts after 38 or 48: 5 and an index, or 2 and red, green, blue (after a colour space in the form with colons) */
function colorOf(parts: readonly number[]): Color | undefined {
  if (parts[0] === 5) return paletteColor(parts[1] ?? 0);
  if (parts[0] !== 2) return undefined;
  const [red = 0, green = 0, blue = 0] = parts.length === 5 ? parts.slice(2) : parts.slice(1);
  return [red, green, blue].every((value) => value >= 0 && value <= 255) ? [red, green, blue] : undefined;
}

/**
 * @param index in the 256-colour palette: sixteen colours, a 6 × 6 × 6 cube, 24 greys
 * @internal
 */
export function paletteColor(index: number): Color | undefined {
  if (!(index >= 0 && index <= 255)) return undefined;
  if (index < 16) return index;
  if (index >= 232) {
    const grey = 8 + (index - 232) * 10;
    return [grey, grey, grey];
  }
  const level = (value: number): number => (value === 0 ? 0 : 55 + value * 40);
  const at = index - 16;
  return [level(Math.floor(at / 36)), level(Math.floor(at / 6) % 6), level(at % 6)];
}

/** The luminance of the console's background, which console.css sets. */
const background = luminance([0x10, 0x14, 0x18]);

/** Lightens a colour until it is readable on the console's background (WCAG 2, AA). */
export function readable(color: readonly [number, number, number]): readonly [number, number, number] {
  for (let mixed = color, step = 0; ; step++) {
    if ((luminance(mixed) + 0.05) / (background + 0.05) >= 4.5 || step >= 10) return mixed;
    const [red, green, blue] = mixed;
    mixed = [lighter(red), lighter(green), lighter(blue)];
  }
}

const lighter = (value: number): number => Math.round(value + (255 - value) * 0.2);

/** Relative luminance (WCAG 2). */
function luminance([red, green, blue]: readonly [number, number, number]): number {
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

function linear(value: number): number {
  const part = value / 255;
  return part <= 0.040_45 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
}
