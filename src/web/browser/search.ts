/** Searches a console for a text or for errors: the server finds the lines, and CSS highlights mark the matches in view. */

export interface Hit {
  /** The line, from 0. */
  readonly n: number;
  /** Of its first byte. */
  readonly offset: number;
}

export interface SearchResult {
  readonly hits: readonly Hit[];
  /** The offset to continue from; null at the end. */
  readonly next: number | null;
}

/** Searches from an offset on. */
export type SearchFrom = (query: string, from: number) => Promise<SearchResult>;

const maxHits = 5000;

export class Search {
  readonly #searchFrom: SearchFrom;
  readonly #total: () => number;
  #query = "";
  #hits: Hit[] = [];
  #next: number | null = 0;
  #at = -1;
  /** How many lines there were when the end was reached. */
  #searched = 0;

  /** @param total how many lines there are by now */
  constructor(searchFrom: SearchFrom, total: () => number) {
    this.#searchFrom = searchFrom;
    this.#total = total;
  }

  get query(): string {
    return this.#query;
  }

  /** The position for the toolbar. */
  get text(): string {
    if (this.#query === "") return "";
    if (this.#hits.length === 0) return "no matches";
    return `${this.#at + 1} of ${this.#hits.length}${this.#next === null ? "" : " or more"}`;
  }

  /** Starts a new search. */
  start(query: string): void {
    this.#query = query;
    this.#hits = [];
    this.#next = 0;
    this.#at = -1;
  }

  /**
   * Goes to the next or previous hit from a line on, wrapping around.
   * @param line where one is; a hit there counts only if `here`
   */
  async step(by: 1 | -1, line: number, here = false): Promise<Hit | undefined> {
    if (this.#query === "") return undefined;
    const query = this.#query;
    const isAhead = ({ n }: Hit): boolean => (here ? n >= line : n > line);
    if (this.#next === null && this.#total() > this.#searched)
      this.#next = (this.#hits.at(-1)?.offset ?? -1) + 1;
    // Each request searches one piece of the console, and may find nothing.
    while (this.#next !== null && this.#hits.length < maxHits && !this.#hits.some(isAhead)) {
      const total = this.#total();
      const { hits, next } = await this.#searchFrom(query, this.#next);
      if (query !== this.#query) return undefined;
      const last = this.#hits.at(-1)?.n ?? -1;
      this.#hits.push(...hits.filter(({ n }) => n > last));
      this.#next = next;
      this.#searched = total;
    }
    if (this.#hits.length === 0) return undefined;
    const ahead = this.#hits.findIndex(isAhead);
    if (by === 1) this.#at = Math.max(0, ahead);
    else {
      const before = this.#hits.findLastIndex(({ n }) => n < line);
      this.#at = before < 0 ? this.#hits.length - 1 : before;
    }
    return this.#hits[this.#at];
  }
}

const name = "labgear-hits";

/** Highlights a text in the rows of a console without changing them. */
export function highlight(root: Element, query: string): void {
  if (!("highlights" in CSS)) return;
  CSS.highlights.delete(name);
  if (query === "") return;
  const wanted = query.toLowerCase();
  const ranges: Range[] = [];
  for (const row of root.querySelectorAll(".text")) {
    const text = (row.textContent ?? "").toLowerCase();
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
      const range = rangeOf(row, at, at + wanted.length);
      if (range) ranges.push(range);
    }
  }
  CSS.highlights.set(name, new Highlight(...ranges));
}

/** A range of characters in the text of an element, across its child elements. */
function rangeOf(root: Element, from: number, to: number): Range | undefined {
  const range = document.createRange();
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  let offset = 0;
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const length = node.nodeValue?.length ?? 0;
    if (from >= offset && from < offset + length) range.setStart(node, from - offset);
    if (to > offset && to <= offset + length) {
      range.setEnd(node, to - offset);
      return range;
    }
    offset += length;
  }
  return undefined;
}
