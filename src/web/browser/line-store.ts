/** The lines of a console held by the page: live output at its end, and pages of the rest loaded on demand. */
import { plain, type Span, type Style, showLine } from "./terminal.ts";

export interface Line {
  /** From 0. */
  readonly n: number;
  /** Of its first byte. */
  readonly offset: number;
  /** Unix milliseconds. */
  at?: number;
  text: string;
  /** Bytes left out of the line. */
  cut?: number;
}

/** Loads lines from the server; negative: counted from the end. */
export type GetLines = (
  from: number,
  count: number,
) => Promise<{ total: number | null; lines: readonly Line[] }>;

export const pageSize = 500;
const maxPages = 20;
const maxLiveLines = 20_000;
const maxLineCharacters = 16 * 1024;
const maxLooks = 5000;
/** Colours rarely run on for longer than a screen. */
const maxStyleLines = 100;

export class LineStore {
  /** Called when lines have been loaded. */
  onChange: () => void = () => {};
  readonly #getLines: GetLines | undefined;
  readonly #pages = new Map<number, readonly Line[]>();
  readonly #loading = new Set<number>();
  /** The last lines, from `#first` on; the last one may still grow. */
  #live: Line[] = [];
  #first = 0;
  #total = 0;
  /** The last line is complete, so the next text starts a new one. */
  #ended = true;
  #offset = 0;
  readonly #looks = new Map<number, { spans: Span[]; style: Style }>();

  /** @param getLines absent if lines that are no longer held are gone */
  constructor(getLines?: GetLines) {
    this.#getLines = getLines;
  }

  get total(): number {
    return this.#total;
  }

  /** The first line that can still be shown. */
  get start(): number {
    return this.#getLines ? 0 : this.#first;
  }

  /** Starts over with the last lines of a console. Live output starts a new line. */
  reset(total: number, lines: readonly Line[]): void {
    this.#pages.clear();
    this.#looks.clear();
    this.#live = lines.map((line) => ({ ...line }));
    this.#first = lines[0]?.n ?? total;
    this.#total = total;
    this.#ended = true;
    this.#offset = lines.at(-1)?.offset ?? 0;
  }

  /** Appends live output. */
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
    if (this.#live.length <= maxLiveLines * 1.5) return;
    const gone = this.#live.length - maxLiveLines;
    this.#live = this.#live.slice(gone);
    this.#first += gone;
  }

  #extend(text: string, at: number | undefined): void {
    const last = this.#live.at(-1);
    if (last && !this.#ended) {
      const whole = last.text + text;
      // Text before a carriage return gets overwritten.
      const from = whole.length > maxLineCharacters ? whole.lastIndexOf("\r") + 1 : 0;
      last.text = whole.slice(from, from + maxLineCharacters);
      if (whole.length - from > maxLineCharacters)
        last.cut = (last.cut ?? 0) + whole.length - from - maxLineCharacters;
      this.#looks.delete(last.n);
      return;
    }
    const cut = text.length - maxLineCharacters;
    const line: Line = { n: this.#total, offset: this.#offset, text: text.slice(0, maxLineCharacters) };
    if (at !== undefined) line.at = at;
    if (cut > 0) line.cut = cut;
    this.#live.push(line);
    this.#total += 1;
  }

  /** The line, or undefined while it is not loaded: asking for it starts loading it. */
  get(n: number): Line | undefined {
    if (n >= this.#first) return this.#live[n - this.#first];
    const page = Math.floor(n / pageSize);
    const lines = this.#pages.get(page);
    if (lines) return lines[n - page * pageSize];
    void this.#load(page);
    return undefined;
  }

  async #load(page: number): Promise<void> {
    if (!this.#getLines || this.#loading.has(page)) return;
    this.#loading.add(page);
    try {
      const { lines } = await this.#getLines(page * pageSize, pageSize);
      this.#pages.set(page, lines);
      const [oldest] = this.#pages.keys();
      if (this.#pages.size > maxPages && oldest !== undefined) this.#pages.delete(oldest);
      for (let n = page * pageSize; n <= (page + 1) * pageSize; n++) this.#looks.delete(n);
      this.onChange();
    } catch {
      // Loaded again the next time it is in view.
    } finally {
      this.#loading.delete(page);
    }
  }

  /** What a line looks like. It starts with the colours that the line before ended with, as far as that is loaded. */
  look(line: Line): readonly Span[] {
    const known = this.#looks.get(line.n);
    if (known) return known.spans;
    const look = showLine(line.text, this.#styleBefore(line.n));
    if (this.#looks.size > maxLooks) this.#looks.clear();
    this.#looks.set(line.n, look);
    return look.spans;
  }

  #styleBefore(n: number): Style {
    let first = n;
    while (first > 0 && n - first < maxStyleLines && !this.#looks.has(first - 1) && this.#isLoaded(first - 1))
      first -= 1;
    let style = this.#looks.get(first - 1)?.style ?? plain;
    for (let at = first; at < n; at++) {
      const look = showLine(this.get(at)?.text ?? "", style);
      this.#looks.set(at, look);
      style = look.style;
    }
    return style;
  }

  #isLoaded(n: number): boolean {
    return n >= this.#first ? n < this.#total : this.#pages.has(Math.floor(n / pageSize));
  }
}
