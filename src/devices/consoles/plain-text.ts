/** A board's bytes as text to search: UTF-8, without escape sequences, with one line feed at the end of each line. */

/** Of a longer control string, only the escape character is removed. The rest is text. */
const maxStringLength = 256;

/** ECMA-48: control sequences, control strings (title, hyperlink) on one line, and short sequences with intermediate bytes. */
const control = String.raw`\[[0-?]{0,64}[ -/]{0,8}[@-~]`;
const controlString = String.raw`[\]PX^_][^\x07\x1b\r\n]{0,${maxStringLength}}(?:\x07|\x1b\\)`;
const short = String.raw`[ -/]{1,4}[0-~]|[0-OQ-WYZ\\\x60-~]`;
const sequence = String.raw`\x1b(?:${control}|${controlString}|${short})`;
const escapes = new RegExp(sequence, "g");
const escapesAndLineEnds = new RegExp(String.raw`${sequence}|\x1b|\r+\n`, "g");
const begunEscape = String.raw`\x1b(?:\[[0-?]{0,64}[ -/]{0,8}|[\]PX^_][^\x07\x1b\r\n]{0,${maxStringLength}}\x1b?|[ -/]{0,4})`;
const unfinishedEscapeEnd = new RegExp(`${begunEscape}$`);
const unfinished = new RegExp(String.raw`(?:${begunEscape}|\r+)$`);
/** Of an unfinished sequence. */
const maxHeldLength = maxStringLength + 4;

export function withoutEscapes(text: string): string {
  return text.replace(escapes, "");
}

/** @returns the end of the text that may become an escape sequence */
export function unfinishedEscape(text: string): string {
  return unfinishedEscapeEnd.exec(text.slice(-maxHeldLength))?.[0] ?? "";
}

/**
 * Removes escape sequences (colours, cursor, title), and the carriage returns before a line feed. A lone carriage return and all
 * other control characters stay, even NUL: otherwise the text on both sides of damage would join. Bytes that aren't UTF-8 become
 * U+FFFD. The text doesn't depend on how the bytes are cut into chunks.
 */
export class PlainText {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #held = "";

  /** @returns the text that these bytes complete; what may become an escape sequence is held back */
  push(bytes: Uint8Array): string {
    const decoded = this.#decoder.decode(bytes, { stream: true });
    const text = this.#held + decoded;
    if (!text.includes("\x1b") && !text.includes("\r")) {
      this.#held = "";
      return text;
    }
    const tail = unfinished.exec(text.slice(-maxHeldLength));
    this.#held = tail?.[0].slice(0, maxHeldLength) ?? "";
    const done = this.#held ? text.slice(0, -this.#held.length) : text;
    return done.replace(escapesAndLineEnds, (found) => (found.endsWith("\n") ? "\n" : ""));
  }

  /** Call it after a silence. @returns what was held back, as text, except for a carriage return, which waits for its line feed */
  release(): string {
    if (!this.#held.startsWith("\x1b")) return "";
    const text = this.#held.slice(1).replaceAll("\x1b", "");
    this.#held = "";
    return text;
  }
}
