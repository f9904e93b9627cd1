/**
 * Prints what a build or a board wrote. On a terminal its escape sequences would act: set the title or the clipboard, switch the
 * screen, turn the mouse on, or ask a question whose answer the terminal types into the user's shell. So only colours get through.
 */
import { pipeline } from "node:stream/promises";

type State = "text" | "escape" | "control sequence" | "string";

/** A longer sequence is no colour. */
const maxParameters = 100;

/**
 * Takes text in pieces and returns what a terminal may get: text, ends of lines, tabs, backspaces, and colours (SGR). The names are
 * those of ECMA-48; a string is what follows OSC, DCS, SOS, PM or APC. One that isn't closed ends with its line, so that it hides
 * no more than that.
 *
 *     text ──ESC──▶ escape ──[──▶ control sequence ──final byte──▶ text
 *                     └──] P X ^ _──▶ string ──ST, BEL, end of line──▶ text
 */
export class TerminalFilter {
  #state: State = "text";
  /** The control sequence so far. */
  #parameters = "";
  #coloured = false;

  write(text: string): string {
    let output = "";
    for (let at = 0; at < text.length; ) {
      if (this.#state === "text") {
        const end = nextControl(text, at);
        output += text.slice(at, end);
        at = end;
        if (at === text.length) break;
      }
      const char = String.fromCodePoint(text.codePointAt(at) ?? 0);
      output += this.#take(char);
      at += char.length;
    }
    return output;
  }

  /** @returns what has to follow the last piece: the end of its colour */
  end(): string {
    return this.#coloured ? "\u001b[0m" : "";
  }

  #take(char: string): string {
    const state = this.#state;
    if (char === "\u001b") return this.#enter("escape");
    if (char === "\u009b") return this.#enter("control sequence");
    if ("\u0090\u0098\u009d\u009e\u009f".includes(char)) return this.#enter("string");
    const isLayout = "\n\r\t\b".includes(char);
    // BEL, CAN, SUB and ST end whatever has begun.
    if (state === "text" || isLayout || "\u0007\u0018\u001a\u009c".includes(char)) {
      this.#enter("text");
      return isLayout ? char : "";
    }
    if (state === "escape") return this.#enter(afterEscape(char));
    return state === "control sequence" ? this.#sequence(char) : "";
  }

  #enter(state: State): "" {
    this.#state = state;
    this.#parameters = "";
    return "";
  }

  #sequence(char: string): string {
    // Parameters and intermediates.
    if (char >= " " && char <= "?") {
      if (this.#parameters.length <= maxParameters) this.#parameters += char;
      return "";
    }
    const parameters = this.#parameters;
    this.#enter("text");
    if (char !== "m" || parameters.length > maxParameters || !/^[0-9;:]*$/.test(parameters)) return "";
    this.#coloured = !/^0*$/.test(parameters);
    return `\u001b[${parameters}m`;
  }
}

function afterEscape(char: string): State {
  if (char === "[") return "control sequence";
  if ("]PX^_".includes(char)) return "string";
  // Intermediates, as in ESC ( 0, which switches to line drawing.
  return char >= " " && char <= "/" ? "escape" : "text";
}

/** @returns the index of the next character that a terminal acts on, other than ends of lines, tabs and backspaces */
function nextControl(text: string, from: number): number {
  const control = /[^\P{Cc}\n\r\t\b]/gu;
  control.lastIndex = from;
  return control.exec(text)?.index ?? text.length;
}

/**
 * Writes bytes to standard output: through the filter on a terminal, else as they are.
 * @param raw as they are on a terminal, too
 */
export async function print(bytes: AsyncIterable<Uint8Array>, { raw = false } = {}): Promise<void> {
  const { stdout } = process;
  // Standard output isn't ours to end, and a reader such as `head` may leave early.
  const printed = pipeline(stdout.isTTY && !raw ? filtered(bytes) : bytes, stdout, { end: false });
  await printed.catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

async function* filtered(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const filter = new TerminalFilter();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  for await (const chunk of bytes) yield filter.write(decoder.decode(chunk, { stream: true }));
  yield filter.write(decoder.decode()) + filter.end();
}
