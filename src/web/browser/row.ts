/** One line of a console as an element. Its text is never parsed as HTML. */
import { clock } from "./dates.ts";
import type { Line } from "./line-store.ts";
import { type Color, plain, readable, type Span } from "./terminal.ts";

export interface RowLook {
  readonly n: number;
  /** undefined if not loaded yet. */
  readonly line: Line | undefined;
  readonly spans: readonly Span[];
  readonly marked: boolean;
  /** It is older than the running build. */
  readonly before: boolean;
}

/** @param hasLinks whether lines can be linked to */
export function newRow(look: RowLook, hasLinks: boolean): HTMLElement {
  const row = document.createElement("div");
  row.className = ["row", look.marked && "marked", look.before && "before"].filter(Boolean).join(" ");
  const number = document.createElement(hasLinks ? "a" : "span");
  number.className = "n";
  number.textContent = String(look.n + 1);
  if (number instanceof HTMLAnchorElement) {
    number.href = `#L${look.n + 1}`;
    number.setAttribute("aria-label", `Line ${look.n + 1}`);
    // The console is one tab stop, not one for each line.
    number.tabIndex = -1;
  }
  const time = document.createElement("span");
  time.className = "at";
  if (look.line?.at !== undefined) time.textContent = clock(look.line.at);
  const text = document.createElement("span");
  text.className = "text";
  // Older lines are dimmed, without their colours.
  text.append(...look.spans.map((span) => newSpan(look.before ? { ...span, style: plain } : span)));
  if (look.line === undefined) text.textContent = "…";
  else if (look.line.cut) text.append(newNote(` … ${look.line.cut} more bytes in the plain text`));
  row.append(number, time, text);
  return row;
}

function newNote(text: string): HTMLElement {
  const note = document.createElement("i");
  note.textContent = text;
  return note;
}

function newSpan({ text, style, wide }: Span): Node {
  const { fg, bg, bold, dim, italic, underline, strike, inverse } = style;
  const names = [
    wide && "w2",
    bold && "sgr-bold",
    dim && "sgr-dim",
    italic && "sgr-italic",
    underline && "sgr-underline",
    strike && "sgr-strike",
    inverse && "sgr-inverse",
    typeof fg === "number" && `${inverse ? "b" : "f"}${fg}`,
    typeof bg === "number" && `${inverse ? "f" : "b"}${bg}`,
  ].filter(Boolean);
  if (names.length === 0 && fg === undefined && bg === undefined) return document.createTextNode(text);
  const span = document.createElement("span");
  span.className = names.join(" ");
  span.textContent = text;
  const [front, back] = inverse ? [bg, fg] : [fg, bg];
  // With a background of its own, the program has chosen both colours.
  if (typeof front === "object") span.style.color = css(back === undefined ? readable(front) : front);
  if (typeof back === "object") span.style.backgroundColor = css(back);
  return span;
}

const css = (color: Exclude<Color, number>): string => `rgb(${color.join(" ")})`;
