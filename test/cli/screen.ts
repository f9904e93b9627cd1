/** What a terminal shows, as far as labgear's own sequences go: carriage return, erase to the end of the line, colours. */
export class Screen {
  readonly lines: string[] = [""];
  readonly #columns: number;
  #column = 0;

  constructor(columns: number) {
    this.#columns = columns;
  }

  write(text: string): this {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the sequences begin with one
    for (const [token] of text.matchAll(/\u001b\[[0-9;]*[A-Za-z]|\^C|./gsu)) this.#take(token);
    return this;
  }

  #take(token: string): void {
    const row = this.lines.length - 1;
    const line = this.lines[row] ?? "";
    if (token === "\n") {
      this.lines.push("");
      this.#column = 0;
    } else if (token === "\r") this.#column = 0;
    else if (token === "\u001b[K") this.lines[row] = line.slice(0, this.#column);
    // What the terminal echoes of the typed Ctrl-C, and colours, leave the text as it is.
    else if (token.length === 1) {
      if (this.#column >= this.#columns) {
        this.lines.push("");
        this.#column = 0;
        this.#take(token);
        return;
      }
      this.lines[row] = line.slice(0, this.#column) + token + line.slice(this.#column + 1);
      this.#column += 1;
    }
  }
}
