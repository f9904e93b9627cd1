/** One line of a console as an element. Its text is never parsed as HTML. */
import type { Line } from "./line-store.ts";
import { linksIn } from "./links.ts";
import { type Color, plain, readable, type Span } from "./terminal.ts";

export interface RowLook {
  readonly n: number;
  /** undefined if not loaded yet. */
  readonly line: Line | undefined;
  readonly spans: readonly Span[];
  /** What stands in the column of times. */
  readonly time: string;
  readonly marked: boolean;
  /** It is older than the running build. */
  readonly before: boolean;
  /** It heads a section that can be folded. */
  readonly heading?: Heading | undefined;
}

export interface Heading {
  readonly title: string;
  /** How many lines are below it. */
  readonly lines: number;
  readonly folded: boolean;
  toggle(): void;
}

/**
 * @param hasLinks whether lines can be linked to
 * @param source the address of a file's line in the source, if there is one
 */
export function newRow(look: RowLook, hasLinks: boolean, source?: string): HTMLElement {
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
  time.textContent = look.time;
  const text = document.createElement("span");
  text.className = "text";
  // Older lines are dimmed, without their colours.
  const spans = look.before ? look.spans.map((span) => ({ ...span, style: plain })) : look.spans;
  if (look.heading) text.append(newHeading(look.heading));
  else text.append(...withLinks(spans, source).map(newSpan));
  if (look.line === undefined) text.textContent = "…";
  else if (look.line.cut) text.append(newNote(` … ${look.line.cut} more bytes in the plain text`));
  row.append(number, time, text);
  return row;
}

function newHeading({ title, lines, folded, toggle }: Heading): HTMLElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "fold";
  button.setAttribute("aria-expanded", `${!folded}`);
  button.textContent = title;
  if (folded) button.append(newNote(` ${lines} ${lines === 1 ? "line" : "lines"}`));
  button.addEventListener("click", toggle);
  return button;
}

function newNote(text: string): HTMLElement {
  const note = document.createElement("i");
  note.textContent = text;
  return note;
}

/** Links in the text become links; those that the program itself made (OSC 8) stay. */
function withLinks(spans: readonly Span[], source: string | undefined): readonly Span[] {
  const links = linksIn(spans.map(({ text }) => text).join(""), source);
  if (links.length === 0) return spans;
  let at = 0;
  return spans.flatMap((span): Span[] => {
    const [from, to] = [at, at + span.text.length];
    at = to;
    const own = links.filter((link) => link.from < to && link.to > from);
    if (own.length === 0 || span.style.link !== undefined) return [span];
    const parts: Span[] = [];
    let done = from;
    const take = (end: number, style: Span["style"]): void => {
      if (end > done) parts.push({ ...span, text: span.text.slice(done - from, end - from), style });
      done = Math.max(done, end);
    };
    for (const { from: start, to: end, href } of own) {
      take(Math.min(start, to), span.style);
      take(Math.min(end, to), { ...span.style, link: href });
    }
    take(to, span.style);
    return parts;
  });
}

function newSpan({ text, style, wide }: Span): Node {
  const { fg, bg, bold, dim, italic, underline, strike, inverse, link } = style;
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
  const isPlain = names.length === 0 && fg === undefined && bg === undefined;
  if (isPlain && link === undefined) return document.createTextNode(text);
  const span = document.createElement(link === undefined ? "span" : "a");
  if (span instanceof HTMLAnchorElement) {
    span.href = link ?? "";
    span.rel = "noreferrer";
  }
  span.className = names.join(" ");
  span.textContent = text;
  const [front, back] = inverse ? [bg, fg] : [fg, bg];
  // With a background of its own, the program has chosen both colours.
  if (typeof front === "object") span.style.color = css(back === undefined ? readable(front) : front);
  if (typeof back === "object") span.style.backgroundColor = css(back);
  return span;
}

const css = (color: Exclude<Color, number>): string => `rgb(${color.join(" ")})`;
