/** The lines that the address names: #L12 or #L12-L20. */

export class Marks {
  /** Told when others are named; true when the page is to go there. */
  onChange: (isElsewhere: boolean) => void = () => {};
  #first: number | undefined;
  #last: number | undefined;

  constructor() {
    this.#read();
    addEventListener("hashchange", () => {
      this.#read();
      this.onChange(true);
    });
    // From the first of them to the one that is chosen with the shift key.
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

  /** Names lines in the address, without a new step in the history. */
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
