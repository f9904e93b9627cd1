/** The lines of a console as far as they are here: what came live at its end, and pieces of the rest that were asked for. */
import { plain, type Span, type Style, showLine } from "./terminal.ts";

export interface Line {
  /** From 0. */
  readonly n: number;
  /** Of its first byte. */
  readonly offset: number;
  /** Unix milliseconds. */
  at?: number;
  text: string;
  /** Bytes of it that aren't there. */
  cut?: number;
}

/** Asks for lines; resolves with those that there are. */
export type Fetch = (
  from: number,
  count: number,
) => Promise<{ total: number | null; lines: readonly Line[] }>;

export const pageSize = 500;
/** Pages kept of what was asked for, and lines kept of what came live. */
const mostPages = 20;
const mostLive = 20_000;
/** Characters of one line; what comes after is left out. */
const mostText = 16 * 1024;

export class LineStore {
  /** Told when lines have come that weren't there. */
  onChange: () => void = () => {};
  readonly #fetch: Fetch | undefined;
  readonly #pages = new Map<number, readonly Line[]>();
  readonly #asked = new Set<number>();
  /** The last lines, from `#first` on; the very last one grows. */
  #live: Line[] = [];
  #first = 0;
  #total = 0;
  /** The last line has its end, so that the next text begins another. */
  #ended = true;
  #offset = 0;
  readonly #looks = new Map<number, { spans: Span[]; style: Style }>();

  /** @param fetch absent: what isn't kept is gone */
  constructor(fetch?: Fetch) {
    this.#fetch = fetch;
  }

  get total(): number {
    return this.#total;
  }

  /** The first line that can be shown. */
  get start(): number {
    return this.#fetch ? 0 : this.#first;
  }

  /** Begins anew with the last lines of a console; what comes live begins another. */
  reset(total: number, lines: readonly Line[]): void {
    this.#pages.clear();
    this.#looks.clear();
    this.#live = lines.map((line) => ({ ...line }));
    this.#first = lines[0]?.n ?? total;
    this.#total = total;
    this.#ended = true;
    this.#offset = lines.at(-1)?.offset ?? 0;
  }

  /** Takes text that came live. */
  append(text: string, offset: number, at: number | undefined): void {
    let from = 0;
    this.#offset = Math.max(this.#offset, offset);
    while (from < text.length) {
      const newline = text.indexOf("\n", from);
      this.#extend(text.slice(from, newline < 0 ? text.length : newline), at);
      this.#ended = newline >= 0;
      if (newline < 0) break;
      from = newline + 1;
    }
    if (this.#live.length <= mostLive * 1.5) return;
    const gone = this.#live.length - mostLive;
    this.#live = this.#live.slice(gone);
    this.#first += gone;
  }

  #extend(text: string, at: number | undefined): void {
    const last = this.#live.at(-1);
    if (last && !this.#ended) {
      const whole = last.text + text;
      // What a carriage return lets be written over needn't be kept.
      const from = whole.length > mostText ? whole.lastIndexOf("\r") + 1 : 0;
      last.text = whole.slice(from, from + mostText);
      if (whole.length - from > mostText) last.cut = (last.cut ?? 0) + whole.length - from - mostText;
      this.#looks.delete(last.n);
      return;
    }
    const cut = text.length - mostText;
    const line: Line = { n: this.#total, offset: this.#offset, text: text.slice(0, mostText) };
    if (at !== undefined) line.at = at;
    if (cut > 0) line.cut = cut;
    this.#live.push(line);
    this.#total += 1;
  }

  /** The line, or undefined while it isn't here; it is then asked for. */
  get(n: number): Line | undefined {
    if (n >= this.#first) return this.#live[n - this.#first];
    const page = Math.floor(n / pageSize);
    const lines = this.#pages.get(page);
    if (lines) return lines[n - page * pageSize];
    void this.#ask(page);
    return undefined;
  }

  async #ask(page: number): Promise<void> {
    if (!this.#fetch || this.#asked.has(page)) return;
    this.#asked.add(page);
    try {
      const { lines } = await this.#fetch(page * pageSize, pageSize);
      this.#pages.set(page, lines);
      const [oldest] = this.#pages.keys();
      if (this.#pages.size > mostPages && oldest !== undefined) this.#pages.delete(oldest);
      for (let n = page * pageSize; n <= (page + 1) * pageSize; n++) this.#looks.delete(n);
      this.onChange();
    } catch {
      // Asked for again when it is looked at again.
    } finally {
      this.#asked.delete(page);
    }
  }

  /** What is to be seen of a line. Its first colours are those that the line before left, as far as that was seen. */
  look(line: Line): readonly Span[] {
    const known = this.#looks.get(line.n);
    if (known) return known.spans;
    const look = showLine(line.text, this.#styleBefore(line.n));
    if (this.#looks.size > 5000) this.#looks.clear();
    this.#looks.set(line.n, look);
    return look.spans;
  }

  #styleBefore(n: number): Style {
    // Colours seldom run on for longer than a screen.
    let first = n;
    while (first > 0 && n - first < 100 && !this.#looks.has(first - 1) && this.#isHere(first - 1)) first -= 1;
    let style = this.#looks.get(first - 1)?.style ?? plain;
    for (let at = first; at < n; at++) {
      const look = showLine(this.get(at)?.text ?? "", style);
      this.#looks.set(at, look);
      style = look.style;
    }
    return style;
  }

  #isHere(n: number): boolean {
    return n >= this.#first ? n < this.#total : this.#pages.has(Math.floor(n / pageSize));
  }
}
