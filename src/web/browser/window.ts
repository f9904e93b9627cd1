/** A window over many lines, of which only those in sight are elements. All lines are equally tall, so that places are numbers. */
import type { Line, LineStore } from "./line-store.ts";
import { newRow } from "./row.ts";

/** Browsers can't make elements much taller than twice this, in pixels. */
const tallest = 15_000_000;
/** Lines that are made above and below those in sight. */
const margin = 20;

export interface WindowOptions {
  readonly store: LineStore;
  /** Scrolls. */
  readonly scroller: HTMLElement;
  /** Whether lines have addresses. */
  readonly linked: boolean;
  isMarked(n: number): boolean;
  isBefore(line: Line): boolean;
  /** Called after the rows have changed. */
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
  /** The first line in sight; it has a fraction while a line is half in sight. */
  #top = 0;
  /** Where the scroll bar was put by us: an event that finds it there was ours. */
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

  get top(): number {
    return this.#top;
  }

  /** Lines from the first that is kept to the last. */
  get #count(): number {
    return this.#options.store.total - this.#options.store.start;
  }

  /** Beyond some million lines the scroll bar stands for places, not for pixels. */
  get #isScaled(): boolean {
    return this.#count * this.#rowHeight > tallest;
  }

  #measure(): void {
    const probe = newRow({ n: 0, line: undefined, spans: [], marked: false, before: false }, false);
    this.#rows.append(probe);
    this.#rowHeight = probe.getBoundingClientRect().height || 18;
    probe.remove();
    this.draw();
  }

  #onScroll(): void {
    const { scroller, store } = this.#options;
    if (Math.abs(scroller.scrollTop - this.#scrolledTo) < 1) return;
    this.#scrolledTo = scroller.scrollTop;
    const room = scroller.scrollHeight - scroller.clientHeight;
    const most = Math.max(0, this.#count - this.visible);
    const place = this.#isScaled ? (scroller.scrollTop / room) * most : scroller.scrollTop / this.#rowHeight;
    this.#top = store.start + Math.min(place, most);
    this.#noteFollowing(place >= most - 0.5);
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
    this.moveTo(this.#top + lines, false);
  }

  /**
   * @param line the first to be in sight
   * @param leave false: being at the end means to follow
   */
  moveTo(line: number, leave = true): void {
    const { start, total } = this.#options.store;
    const last = Math.max(start, total - this.visible);
    this.#top = Math.max(start, Math.min(line, last));
    this.#noteFollowing(!leave && line >= last);
    this.draw();
  }

  /** Brings a line to the middle. */
  reveal(line: number): void {
    this.moveTo(line - this.visible / 2);
  }

  /** Draws with the next frame. */
  draw(): void {
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#draw());
  }

  /** Forgets what is drawn, such as when marks have changed. */
  redraw(): void {
    this.#drawn.clear();
    this.#rows.replaceChildren();
    this.draw();
  }

  #draw(): void {
    this.#frame = 0;
    const { store, linked, isMarked, isBefore } = this.#options;
    const last = Math.max(store.start, store.total - this.visible);
    this.#top = this.#following ? last : Math.max(store.start, Math.min(this.#top, last));
    const from = Math.max(store.start, Math.floor(this.#top) - margin);
    const to = Math.min(store.total, Math.ceil(this.#top + this.visible) + margin);
    const wanted = new Set<number>();
    for (let n = from; n < to; n++) {
      wanted.add(n);
      const line = store.get(n);
      const marked = isMarked(n);
      const before = line !== undefined && isBefore(line);
      const key = `${line?.text.length}.${line?.cut} ${marked} ${before}`;
      const drawn = this.#drawn.get(n);
      if (drawn?.key === key) continue;
      const element = newRow({ n, line, spans: line ? store.look(line) : [], marked, before }, linked);
      if (drawn) drawn.element.replaceWith(element);
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

  /** Puts the rows in order, and where the scroll bar makes them be seen. */
  #place(from: number, to: number): void {
    let before: Element | null = null;
    for (let n = from; n < to; n++) {
      const element = this.#drawn.get(n)?.element;
      if (!element) continue;
      const next: Element | null = before ? before.nextElementSibling : this.#rows.firstElementChild;
      if (next !== element) this.#rows.insertBefore(element, next);
      before = element;
    }
    this.#spacer.style.height = `${Math.min(tallest, this.#count * this.#rowHeight)}px`;
    this.#scroll();
    const { scroller, store } = this.#options;
    const y = this.#isScaled
      ? scroller.scrollTop + (from - this.#top) * this.#rowHeight
      : (from - store.start) * this.#rowHeight;
    this.#rows.style.transform = `translateY(${y}px)`;
  }

  /** Moves the scroll bar to where the lines are. */
  #scroll(): void {
    const { scroller, store } = this.#options;
    const place = this.#top - store.start;
    const most = Math.max(0, this.#count - this.visible);
    const room = scroller.scrollHeight - scroller.clientHeight;
    const wanted = this.#isScaled ? (most === 0 ? 0 : (place / most) * room) : place * this.#rowHeight;
    if (Math.abs(scroller.scrollTop - wanted) >= 1) scroller.scrollTop = wanted;
    this.#scrolledTo = scroller.scrollTop;
  }
}
