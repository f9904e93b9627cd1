/** A scrolling view of many lines. Only lines in view are elements; all have the same height, so positions can be computed. */
import type { Folds } from "./folds.ts";
import type { Line, LineStore } from "./line-store.ts";
import { type Heading, newRow } from "./row.ts";

/** In pixels. Browsers limit the height of elements to about twice this. */
const maxHeight = 15_000_000;
/** Lines rendered above and below the visible ones. */
const margin = 20;

export interface WindowOptions {
  readonly store: LineStore;
  readonly folds: Folds;
  readonly scroller: HTMLElement;
  /** Whether lines can be linked to. */
  readonly hasLinks: boolean;
  /** The address of a file's line in the source, if there is one. */
  readonly source?: string | undefined;
  /** What stands in the column of times. */
  timeOf(line: Line): string;
  isMarked(n: number): boolean;
  isBefore(line: Line): boolean;
  /** Called after rows have changed. */
  onDrawn(): void;
  onFollowing(following: boolean): void;
}

export class LineWindow {
  readonly #options: WindowOptions;
  readonly #spacer = document.createElement("div");
  readonly #rows = document.createElement("div");
  readonly #drawn = new Map<number, { element: HTMLElement; key: string }>();
  #rowHeight = 18;
  #following = true;
  #frame = 0;
  /** The first visible row; a fraction if it is partly visible. */
  #top = 0;
  /** Where the script last set the scroll bar, to ignore the scroll event of that. */
  #scrolledTo = -1;

  constructor(options: WindowOptions) {
    this.#options = options;
    const { scroller } = options;
    this.#spacer.className = "spacer";
    this.#rows.className = "rows";
    this.#spacer.append(this.#rows);
    scroller.replaceChildren(this.#spacer);
    scroller.addEventListener("scroll", () => this.#onScroll());
    scroller.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    new ResizeObserver(() => this.#measure()).observe(scroller);
    this.#measure();
  }

  get following(): boolean {
    return this.#following;
  }

  set following(following: boolean) {
    if (this.#following === following) return;
    this.#following = following;
    this.#options.onFollowing(following);
    this.draw();
  }

  get visible(): number {
    return Math.max(1, this.#options.scroller.clientHeight / this.#rowHeight);
  }

  /** The first visible line. */
  get top(): number {
    return this.#options.folds.lineOf(Math.floor(this.#top));
  }

  /** The last line that is wholly visible. */
  get bottom(): number {
    const { folds, store } = this.#options;
    return Math.min(store.total - 1, folds.lineOf(Math.max(0, Math.floor(this.#top + this.visible) - 1)));
  }

  shows(line: number): boolean {
    return line >= this.top && line <= this.bottom;
  }

  /** Behind the last row. */
  get #end(): number {
    const { store, folds } = this.#options;
    return store.total === 0 ? 0 : folds.rowOf(store.total - 1) + 1;
  }

  /** The number of rows that can be shown. */
  get #count(): number {
    return this.#end - this.#options.store.start;
  }

  /** With more than about a million lines, the scroll bar is proportional and doesn't count pixels. */
  get #isScaled(): boolean {
    return this.#count * this.#rowHeight > maxHeight;
  }

  #measure(): void {
    const probe = newRow({ n: 0, line: undefined, spans: [], time: "", marked: false, before: false }, false);
    this.#rows.append(probe);
    this.#rowHeight = probe.getBoundingClientRect().height || 18;
    probe.remove();
    this.draw();
  }

  #onScroll(): void {
    const { scroller, store } = this.#options;
    if (Math.abs(scroller.scrollTop - this.#scrolledTo) < 1) return;
    this.#scrolledTo = scroller.scrollTop;
    const scrollable = scroller.scrollHeight - scroller.clientHeight;
    const maxTop = Math.max(0, this.#count - this.visible);
    const place = this.#isScaled
      ? (scroller.scrollTop / scrollable) * maxTop
      : scroller.scrollTop / this.#rowHeight;
    this.#top = store.start + Math.min(place, maxTop);
    this.#noteFollowing(place >= maxTop - 0.5);
    this.draw();
  }

  #noteFollowing(following: boolean): void {
    if (this.#following === following) return;
    this.#following = following;
    this.#options.onFollowing(following);
  }

  #onWheel(event: WheelEvent): void {
    if (!this.#isScaled || event.deltaY === 0 || event.ctrlKey) return;
    event.preventDefault();
    const lines = event.deltaMode === 0 ? event.deltaY / this.#rowHeight : event.deltaY;
    this.#moveTo(this.#top + lines, false);
  }

  /**
   * @param line the first visible line
   * @param leave false if reaching the end turns following on
   */
  moveTo(line: number, leave = true): void {
    this.#moveTo(this.#options.folds.rowOf(line), leave);
  }

  #moveTo(row: number, leave: boolean): void {
    const { start } = this.#options.store;
    const last = Math.max(start, this.#end - this.visible);
    this.#top = Math.max(start, Math.min(row, last));
    this.#noteFollowing(!leave && row >= last);
    this.draw();
  }

  /** Scrolls a line to the middle, and unfolds it. */
  reveal(line: number): void {
    const { folds } = this.#options;
    folds.reveal(line);
    this.#moveTo(folds.rowOf(line) - this.visible / 2, true);
  }

  /** Draws in the next frame. */
  draw(): void {
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#draw());
  }

  /** Draws all rows anew, such as after a change of the marks. */
  redraw(): void {
    this.#drawn.clear();
    this.#rows.replaceChildren();
    this.draw();
  }

  #draw(): void {
    this.#frame = 0;
    const { store, hasLinks, source, folds, timeOf, isMarked, isBefore } = this.#options;
    const last = Math.max(store.start, this.#end - this.visible);
    this.#top = this.#following ? last : Math.max(store.start, Math.min(this.#top, last));
    const from = Math.max(store.start, Math.floor(this.#top) - margin);
    const to = Math.min(this.#end, Math.ceil(this.#top + this.visible) + margin);
    const wanted = new Set<number>();
    for (let row = from; row < to; row++) {
      const n = folds.lineOf(row);
      wanted.add(n);
      const line = store.get(n);
      const marked = isMarked(n);
      const before = line !== undefined && isBefore(line);
      const heading = this.#headingOf(n);
      const key = `${line?.text.length}.${line?.cut} ${marked} ${before} ${heading?.folded} ${heading?.lines}`;
      const drawn = this.#drawn.get(n);
      if (drawn?.key === key) continue;
      const spans = line ? store.look(line) : [];
      const element = newRow(
        { n, line, spans, time: line ? timeOf(line) : "", marked, before, heading },
        hasLinks,
        source,
      );
      const hadFocus = drawn?.element.contains(document.activeElement);
      if (drawn) drawn.element.replaceWith(element);
      if (hadFocus) element.querySelector("button")?.focus({ preventScroll: true });
      this.#drawn.set(n, { element, key });
    }
    for (const [n, { element }] of this.#drawn) {
      if (wanted.has(n)) continue;
      element.remove();
      this.#drawn.delete(n);
    }
    this.#place(from, to);
    this.#options.onDrawn();
  }

  #headingOf(n: number): Heading | undefined {
    const { folds } = this.#options;
    const section = folds.at(n);
    if (!section || section.to === null) return undefined;
    const toggle = (): void => {
      folds.toggle(n);
      this.#noteFollowing(false);
      this.draw();
    };
    return { title: section.title, lines: section.to - n, folded: folds.isFolded(n), toggle };
  }

  /** Puts the rows in order and at the position that the scroll bar shows. */
  #place(from: number, to: number): void {
    let before: Element | null = null;
    for (let row = from; row < to; row++) {
      const element = this.#drawn.get(this.#options.folds.lineOf(row))?.element;
      if (!element) continue;
      const next: Element | null = before ? before.nextElementSibling : this.#rows.firstElementChild;
      if (next !== element) this.#rows.insertBefore(element, next);
      before = element;
    }
    this.#spacer.style.height = `${Math.min(maxHeight, this.#count * this.#rowHeight)}px`;
    this.#scroll();
    const { scroller, store } = this.#options;
    const y = this.#isScaled
      ? scroller.scrollTop + (from - this.#top) * this.#rowHeight
      : (from - store.start) * this.#rowHeight;
    this.#rows.style.transform = `translateY(${y}px)`;
  }

  /** Moves the scroll bar to the visible lines. */
  #scroll(): void {
    const { scroller, store } = this.#options;
    const place = this.#top - store.start;
    const maxTop = Math.max(0, this.#count - this.visible);
    const scrollable = scroller.scrollHeight - scroller.clientHeight;
    const wanted = this.#isScaled
      ? maxTop === 0
        ? 0
        : (place / maxTop) * scrollable
      : place * this.#rowHeight;
    if (Math.abs(scroller.scrollTop - wanted) >= 1) scroller.scrollTop = wanted;
    this.#scrolledTo = scroller.scrollTop;
  }
}
