/** Which lines of a console are folded away, and so which row of the view shows which line. Without the DOM. */

export interface Section {
  /** The line of its heading, from 0. */
  readonly from: number;
  /** Its last line; null: it isn't over, and can't be folded yet. */
  readonly to: number | null;
  readonly title: string;
  readonly folded?: true;
}

/** Lines that aren't shown. */
interface Hidden {
  readonly from: number;
  readonly to: number;
  /** How many lines are hidden before it. */
  readonly before: number;
}

export class Folds {
  #sections: readonly Section[] = [];
  readonly #byLine = new Map<number, Section>();
  /** The headings of folded sections. */
  readonly #folded = new Set<number>();
  #hidden: readonly Hidden[] = [];

  /** Sections that are known already stay as they are. */
  set(sections: readonly Section[]): void {
    this.#sections = sections;
    for (const section of sections) {
      if (section.folded && !this.#byLine.has(section.from)) this.#folded.add(section.from);
      this.#byLine.set(section.from, section);
    }
    this.#update();
  }

  get isEmpty(): boolean {
    return this.#sections.length === 0;
  }

  get isAnyFolded(): boolean {
    return this.#hidden.length > 0;
  }

  /** The section with this heading. */
  at(line: number): Section | undefined {
    return this.#byLine.get(line);
  }

  isFolded(line: number): boolean {
    return this.#folded.has(line);
  }

  toggle(line: number): void {
    if (!this.#folded.delete(line)) this.#folded.add(line);
    this.#update();
  }

  setAll(folded: boolean): void {
    this.#folded.clear();
    if (folded) for (const { from } of this.#sections) this.#folded.add(from);
    this.#update();
  }

  /** Unfolds whatever hides a line. */
  reveal(line: number): void {
    for (const { from, to } of this.#sections)
      if (to !== null && from < line && line <= to) this.#folded.delete(from);
    this.#update();
  }

  /** The row that shows a line; of a hidden line, its heading's. */
  rowOf(line: number): number {
    const hidden = this.#last(({ from }) => from <= line);
    if (!hidden) return line;
    if (line <= hidden.to) return hidden.from - hidden.before - 1;
    return line - hidden.before - (hidden.to - hidden.from + 1);
  }

  lineOf(row: number): number {
    const hidden = this.#last(({ from, before }) => from - before <= row);
    return hidden ? row + hidden.before + (hidden.to - hidden.from + 1) : row;
  }

  #last(is: (hidden: Hidden) => boolean): Hidden | undefined {
    let low = 0;
    let high = this.#hidden.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const hidden = this.#hidden[middle];
      if (hidden && is(hidden)) low = middle + 1;
      else high = middle;
    }
    return this.#hidden[low - 1];
  }

  #update(): void {
    const hidden: Hidden[] = [];
    let before = 0;
    let end = -1;
    // By their headings: what is within a folded section comes after it.
    for (const { from, to } of this.#sections) {
      if (to === null || !this.#folded.has(from) || from <= end) continue;
      hidden.push({ from: from + 1, to, before });
      before += to - from;
      end = to;
    }
    this.#hidden = hidden;
  }
}
