/** Takes out of a console's stream what others wrote into the middle of it: kernel lines, terminal escapes, our own echo. */

/** How printk begins a line: `<6>`, `[   12.345678]`, the caller's id, or both. */
const kernelLine = /(?:<\d{1,3}>|(?:<\d{1,3}>)?\[ {0,10}\d{1,9}\.\d{1,9}\](?:\[ {0,8}[TC]\d{1,9}\])? )/y;
/** What may still become one, or an escape, with more bytes. */
const unfinished =
  /^(?:<\d{0,3}|(?:<\d{1,3}>)?\[ {0,10}\d{0,9}(?:\.\d{0,9})?(?:\](?:\[ {0,8}[TC]?\d{0,9}\]?)?)?)$/;
/** ECMA-48: CSI sequences, strings such as a title, single shifts and the like. */
const esc = "\u001b";
const bell = "\u0007";
const terminalEscape = new RegExp(
  `${esc}(?:\\[[0-?]*[ -/]*[@-~]|\\][^${bell}${esc}\n]*(?:${bell}|${esc}\\\\)|[ -/]+[0-~]|[0-Z\\\\^-~])`,
  "y",
);
const longestEscape = 64;

/**
 * A filter over text of one byte a character. Its cost is linear, and it keeps a bounded rest back when that may become a
 * kernel line. Neither `[` nor `<` is in the alphabet of our frames.
 */
export class NoiseFilter {
  #held = "";
  #dropping = false;
  #special: RegExp;
  #echo: string | undefined;

  constructor() {
    this.#special = specials("");
  }

  /** Lines of ours begin with this text; a board that echoes brings them back, and they are dropped. */
  set echo(start: string | undefined) {
    this.#echo = start;
    this.#special = specials(start?.[0] ?? "");
  }

  /** The next bytes; the answer is what isn't noise. Carriage returns and line ends stay. */
  feed(text: string): string {
    let rest = this.#held + text;
    this.#held = "";
    let clean = "";
    while (rest !== "") {
      if (this.#dropping) {
        const end = rest.indexOf("\n");
        if (end < 0) return clean;
        this.#dropping = false;
        rest = rest.slice(end + 1);
        continue;
      }
      const at = this.#scan(rest);
      clean += rest.slice(0, at.keep).replaceAll("\0", "");
      if (at.hold) {
        this.#held = rest.slice(at.keep);
        return clean;
      }
      this.#dropping = at.drop;
      rest = rest.slice(at.next);
    }
    return clean;
  }

  /** What was kept back: nothing more came, so it is no kernel line. */
  flush(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }

  /** The first piece of noise in the text: how much before it is kept, and where the text goes on. */
  #scan(text: string): { keep: number; next: number; drop: boolean; hold: boolean } {
    this.#special.lastIndex = 0;
    for (let found = this.#special.exec(text); found; found = this.#special.exec(text)) {
      const at = found.index;
      const echo = this.#echo;
      if (echo !== undefined && text.startsWith(echo, at)) {
        return { keep: at, next: at + echo.length, drop: true, hold: false };
      }
      const tail = text.length - at < longestEscape ? text.slice(at) : undefined;
      if (echo !== undefined && tail !== undefined && echo.startsWith(tail)) return holding(at);
      for (const pattern of [kernelLine, terminalEscape]) {
        pattern.lastIndex = at;
        const length = pattern.exec(text)?.[0].length;
        // `<6>` may be all of it, or go on with the time.
        if (length) return { keep: at, next: at + length, drop: pattern === kernelLine, hold: false };
      }
      if (tail !== undefined && (text[at] === esc || unfinished.test(tail))) return holding(at);
    }
    return { keep: text.length, next: text.length, drop: false, hold: false };
  }
}

const holding = (keep: number) => ({ keep, next: keep, drop: false, hold: true });

function specials(more: string): RegExp {
  return new RegExp(`[\\[<${esc}${more.replace(/[^A-Za-z0-9]/g, "")}]`, "g");
}
