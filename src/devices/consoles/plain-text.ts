/** A board's bytes as text to search in: UTF-8, without escape sequences, each line ended by one line feed. */

/** Longer ones aren't escape sequences: the escape character alone is taken out, and what follows is text. */
const maxString = 256;

/** ECMA-48: control sequences, control strings (title, hyperlink) on one line, and the short ones with intermediate bytes. */
const control = String.raw`\[[0-?]{0,64}[ -/]{0,8}[@-~]`;
const controlString = String.raw`[\]PX^_][^\x07\x1b\r\n]{0,${maxString}}(?:\x07|\x1b\\)`;
const short = String.raw`[ -/]{1,4}[0-~]|[0-OQ-WYZ\\\x60-~]`;
const escapes = new RegExp(String.raw`\x1b(?:${control}|${controlString}|${short})?|\r+\n`, "g");
const unfinished = new RegExp(
  String.raw`(?:\x1b(?:\[[0-?]{0,64}[ -/]{0,8}|[\]PX^_][^\x07\x1b\r\n]{0,${maxString}}\x1b?|[ -/]{0,4})|\r+)$`,
);
/** Nothing that is held back is longer; what is before it can't be part of an unfinished sequence. */
const maxHeld = maxString + 4;

/**
 * Takes out of a stream of bytes what a terminal would not show: escape sequences (colours, cursor, title), and the carriage
 * returns before a line feed. A lone carriage return and all other control characters stay, NUL too: no text can be put together
 * from two sides of damage. Bytes that aren't UTF-8 become U+FFFD. However the bytes are cut into chunks, the text is the same.
 */
export class PlainText {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #held = "";

  /** The text that these bytes complete. What may be the beginning of a sequence is held back, 260 characters at most. */
  push(bytes: Uint8Array): string {
    const decoded = this.#decoder.decode(bytes, { stream: true });
    const text = this.#held + decoded;
    if (!text.includes("\x1b") && !text.includes("\r")) {
      this.#held = "";
      return text;
    }
    const tail = unfinished.exec(text.slice(-maxHeld));
    this.#held = tail?.[0].slice(0, maxHeld) ?? "";
    const done = this.#held ? text.slice(0, -this.#held.length) : text;
    return done.replace(escapes, (found) => (found.endsWith("\n") ? "\n" : ""));
  }

  /** What was held back, as text: for when nothing more came for a while. A carriage return goes on waiting for its line feed. */
  release(): string {
    if (!this.#held.startsWith("\x1b")) return "";
    const text = this.#held.slice(1).replaceAll("\x1b", "");
    this.#held = "";
    return text;
  }
}
