/** Removes from a console's stream what isn't part of a session: kernel lines, terminal escapes, the echo of our requests. */
import type { TextFilter } from "../expect.ts";

/** How printk starts a line: `<6>`, `[   12.345678]`, the caller's id, or both. */
const kernelLine = /(?:<\d{1,3}>|(?:<\d{1,3}>)?\[ {0,10}\d{1,9}\.\d{1,9}\](?:\[ {0,8}[TC]\d{1,9}\])? )/y;
/** What may become one with more bytes. */
const unfinished =
  /^(?:<\d{0,3}|(?:<\d{1,3}>)?\[ {0,10}\d{0,9}(?:\.\d{0,9})?(?:\](?:\[ {0,8}[TC]?\d{0,9}\]?)?)?)$/;
/** ECMA-48: CSI sequences, strings such as a title, single shifts and the like. */
const esc = "\u001b";
const bell = "\u0007";
const terminalEscape = new RegExp(
  `${esc}(?:\\[[0-?]*[ -/]*[@-~]|\\][^${bell}${esc}\n]*(?:${bell}|${esc}\\\\)|[ -/]+[0-~]|[0-Z\\\\^-~])`,
  "y",
);
const maxEscapeLength = 64;

/** Takes linear time, and holds back a bounded rest. Frames contain neither `[` nor `<`, so no part of one is taken for noise. */
export class NoiseFilter implements TextFilter {
  #held = "";
  #dropping = false;
  #special: RegExp;
  #echo: string | undefined;

  constructor() {
    this.#special = specials("");
  }

  /** How our requests start. A board that echoes sends them back, and their lines are dropped. */
  set echo(start: string | undefined) {
    this.#echo = start;
    this.#special = specials(start?.[0] ?? "");
  }

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

  flush(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }

  /** Finds the first noise: how much text before it to keep, and where the text continues. */
  #scan(text: string): { keep: number; next: number; drop: boolean; hold: boolean } {
    this.#special.lastIndex = 0;
    for (let found = this.#special.exec(text); found; found = this.#special.exec(text)) {
      const at = found.index;
      const echo = this.#echo;
      if (echo !== undefined && text.startsWith(echo, at)) {
        return { keep: at, next: at + echo.length, drop: true, hold: false };
      }
      const tail = text.length - at < maxEscapeLength ? text.slice(at) : undefined;
      if (echo !== undefined && tail !== undefined && echo.startsWith(tail)) return holding(at);
      for (const pattern of [kernelLine, terminalEscape]) {
        pattern.lastIndex = at;
        const length = pattern.exec(text)?.[0].length;
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
