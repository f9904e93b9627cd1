/** A small shell's command line: types in step with the echo, and ends or discards what is typed. */
import { BoardFailure } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import type { Expect } from "../expect.ts";
import type { Dialect } from "./dialects.ts";

/** What fits the buffer of a UART. */
const maxChunkLength = 16;
export const echoTimeoutMs = 700;
export const maxAttempts = 6;
/** After this much silence, the prompt's text at the end of the output may be the prompt. */
export const promptSilenceMs = 60;
/** More than a half-typed line can have gained by doubled characters. */
const discardMargin = 8;

export class ShellLine {
  /** As it stands at the end of the output. */
  prompt = "";
  readonly #board: Expect;
  readonly #discard: Dialect["discard"];
  /** How much of a line is typed before its echo; halved after each loss. */
  #chunkLength = maxChunkLength;

  constructor(board: Expect, discard: Dialect["discard"]) {
    this.#board = board;
    this.#discard = discard;
  }

  /**
   * Types behind the prompt, which the buffer ends with. A log message in between makes the shell draw prompt and line anew.
   * @returns "full": the shell took only the beginning, and what came after it was ignored
   */
  *type(text: string, before = this.prompt): Dialogue<"typed" | "damaged" | "full"> {
    const board = this.#board;
    const drawn = (length: number) => board.buffer.endsWith(before + text.slice(0, length));
    for (let at = 0; at < text.length; ) {
      const next = Math.min(text.length, at + this.#chunkLength);
      yield* board.send(text.slice(at, next));
      const late = board.now + echoTimeoutMs;
      while (!drawn(next) && board.now < late) yield* board.read(late - board.now);
      if (!drawn(next)) {
        this.#chunkLength = Math.max(1, this.#chunkLength >> 1);
        return at >= 64 && drawn(at) ? "full" : "damaged";
      }
      at = next;
    }
    // A doubled character shows after the last one.
    const late = board.now + echoTimeoutMs;
    while (board.now < late && (yield* board.read(5)));
    return drawn(text.length) ? "typed" : "damaged";
  }

  /** Ends the typed line. It is ended again only when nothing came back: the command must not run twice. */
  *enter(line: string): Dialogue<void> {
    const board = this.#board;
    const drawnAnew = RegExp.escape(this.prompt + line);
    const echo = new RegExp(`^\\r*\\n|${drawnAnew}\\r*\\n`);
    board.clear();
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      yield* board.send("\r");
      const ended = yield* board.expect(echo, echoTimeoutMs);
      if (ended) {
        const rest = board.buffer.slice(ended.index + ended[0].length);
        yield* board.pass(board.buffer.length - ended.index);
        board.buffer = rest;
        return;
      }
      if (board.buffer !== "" && !board.buffer.endsWith(this.prompt + line)) break;
    }
    throw new BoardFailure("noise", "the line damaged a command's end");
  }

  /** Clears what was typed, of about this length. @returns whether a prompt came */
  *discard(length = 0): Dialogue<boolean> {
    const board = this.#board;
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      board.clear();
      yield* board.send(this.#discard(length + discardMargin));
      yield* board.silence(promptSilenceMs, echoTimeoutMs);
      if (board.buffer.endsWith(this.prompt)) return true;
    }
    return false;
  }
}
