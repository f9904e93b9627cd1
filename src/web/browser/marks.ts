/** The marked lines, named by the fragment of the URL: #L12 or #L12-L20. */

export class Marks {
  /** Called when the marked lines change; true after a navigation to them. */
  onChange: (isNavigation: boolean) => void = () => {};
  #first: number | undefined;
  #last: number | undefined;

  constructor() {
    this.#read();
    addEventListener("hashchange", () => {
      this.#read();
      this.onChange(true);
    });
    // A click with the shift key extends the marks to that line.
    document.addEventListener("click", (event) => {
      if (!event.shiftKey || !(event.target instanceof HTMLAnchorElement)) return;
      const line = /^#L(\d+)$/.exec(event.target.hash)?.[1];
      if (line === undefined || this.#first === undefined) return;
      event.preventDefault();
      this.set(this.#first, Number(line) - 1);
    });
  }

  get first(): number | undefined {
    return this.#first;
  }

  has(n: number): boolean {
    return this.#first !== undefined && n >= this.#first && n <= (this.#last ?? this.#first);
  }

  /** Marks lines without adding an entry to the history. */
  set(from: number, to = from): void {
    const [first, last] = from <= to ? [from, to] : [to, from];
    history.replaceState(null, "", `#L${first + 1}${last > first ? `-L${last + 1}` : ""}`);
    this.#read();
    this.onChange(false);
  }

  #read(): void {
    const [, first, last] = /^#L(\d+)(?:-L(\d+))?$/.exec(location.hash) ?? [];
    this.#first = first === undefined ? undefined : Number(first) - 1;
    this.#last = last === undefined ? this.#first : Number(last) - 1;
  }
}
