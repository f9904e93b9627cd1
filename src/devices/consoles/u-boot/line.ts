/** U-Boot's command line: types by its echo, and asks for the exit code of what ran. */
import { BoardFailure } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import { type Ear, output } from "../expect.ts";

/** Characters that are typed before their echo is waited for: what a UART's own buffer takes. */
const largestChunk = 32;
/** Milliseconds for an echo. */
const patience = 700;
const tries = 12;

export class UbootLine {
  readonly #ear: Ear;
  readonly #prompt: string;
  /** What this line bears, learned by what was lost. */
  #chunk = largestChunk;
  /** Something came that isn't what the board said: other things may have come so too. Lost keys alone don't say that. */
  damaged = false;

  constructor(ear: Ear, prompt: string) {
    this.#ear = ear;
    this.#prompt = prompt;
  }

  /**
   * Types at the prompt, and sees that it came; an empty line would repeat the last command, so one is never sent.
   * @returns what is wrong with the text when the board won't take it
   */
  *type(text: string): Dialogue<string> {
    for (let attempt = 0; attempt < tries; attempt += 1) {
      const result = yield* this.#once(text);
      if (result === "typed") return result;
      if (result === "full" && attempt > 1) return "this U-Boot takes no longer ones";
      if (result === "damaged") this.#chunk = Math.max(1, this.#chunk >> 1);
      if (!(yield* this.fresh())) break;
    }
    throw new BoardFailure("noise", "what is typed doesn't come back as it was: characters get lost");
  }

  /** Ends the typed line. Its echo tells whether that came: a second one, sent blindly, might run a command again. */
  *enter(): Dialogue<void> {
    const ear = this.#ear;
    for (let attempt = 0; attempt < tries; attempt += 1) {
      yield* ear.write("\r");
      const echo = yield* ear.until(/\r?\n/, patience);
      if (echo?.index === 0) {
        ear.take(echo[0].length);
        return;
      }
      if (echo)
        throw new BoardFailure(
          "noise",
          `the command line was damaged as it was sent, by ${JSON.stringify(ear.text.slice(0, echo.index))}`,
        );
      // A space is echoed as long as the line is being typed.
      if (ear.text === "") yield* ear.write(" ");
      if (ear.text !== "" || !(yield* ear.until(/^ $/, patience))) return;
      ear.clear();
    }
  }

  /** Whether the board echoes a space, as it does at the prompt alone; then the prompt is a fresh one. */
  *listens(): Dialogue<boolean> {
    const ear = this.#ear;
    const before = ear.text;
    yield* ear.write(" ");
    yield* ear.silence(100, patience);
    if (ear.text !== `${before} `) return false;
    yield* output(before);
    return yield* this.fresh();
  }

  /** A prompt on a line of its own, with nothing typed; what was typed or left open is gone. @returns whether it came */
  *fresh(): Dialogue<boolean> {
    const ear = this.#ear;
    for (let attempt = 0; attempt < tries; attempt += 1) {
      ear.clear();
      yield* ear.write("\x03");
      yield* ear.silence(60, patience);
      if (ear.text.endsWith(`\n${this.#prompt}`)) {
        ear.clear();
        return true;
      }
    }
    return false;
  }

  /** Whether the prompt is one that runs commands. */
  *answers(token: string): Dialogue<boolean> {
    const ear = this.#ear;
    ear.clear();
    yield* ear.write(`echo ${token}$?\r`);
    const answer = yield* ear.until(new RegExp(`\\n${token}\\d+\\r?\\n${escaped(this.#prompt)}$`), patience);
    ear.clear();
    return answer !== undefined;
  }

  /**
   * The exit code of what ran last; call it with nothing but the prompt in the ear. Asked again, it tells the same: `$?` is put in front of
   * what was there, and the first one asked for is the last of them. It is told twice, and counts when both agree.
   * @returns undefined when that was no prompt: what came instead is in the ear, behind it
   */
  *code(token: string): Dialogue<number | undefined> {
    const ear = this.#ear;
    const name = `lg${token}`;
    const command = `${name}=$?:$${name};echo ${token} $${name} $${name}`;
    const echo = this.#prompt + command;
    const answer = new RegExp(`^\\r?\\n${token} ((?:\\d+:)+) \\1\\r?\\n${escaped(this.#prompt)}$`);
    for (let attempt = 0; attempt < tries; attempt += 1) {
      yield* ear.write(command);
      if (yield* ear.until(new RegExp(`${escaped(echo)}$`), patience)) {
        yield* output(ear.take(ear.text.length - echo.length));
        ear.clear();
        yield* ear.write("\r");
        const codes = (yield* ear.until(answer, patience))?.[1]?.split(":");
        if (codes) {
          ear.clear();
          return Number(codes.at(-2));
        }
        this.damaged = true;
      } else {
        // A command that still runs takes keys away without a word, or some of them when it ends just now.
        const at = ear.text.lastIndexOf(this.#prompt);
        const rest = ear.text.slice(at + this.#prompt.length);
        if (at < 0 || rest === "" || !isPart(rest, command)) return undefined;
        yield* output(ear.take(at));
      }
      if (!(yield* this.fresh())) break;
      ear.text = this.#prompt;
    }
    throw new BoardFailure(
      "noise",
      "U-Boot doesn't tell a command's exit code: does it have the hush parser?",
    );
  }

  *#once(text: string): Dialogue<"typed" | "damaged" | "full"> {
    const ear = this.#ear;
    for (let at = 0; at < text.length; ) {
      const chunk = text.slice(at, at + this.#chunk);
      yield* ear.write(chunk);
      const came = yield* ear.until(new RegExp(`^[^]{${chunk.length}}`), patience);
      if (ear.text.includes("\x07")) return "full";
      if (came?.[0] !== chunk) {
        if (!isPart(ear.text, chunk)) this.damaged = true;
        return "damaged";
      }
      ear.take(chunk.length);
      at += chunk.length;
    }
    // A character that came twice is behind the last one.
    if (!(yield* ear.read(5))) return "typed";
    this.damaged = true;
    return "damaged";
  }
}

/** Whether it is the text with some characters left out. */
function isPart(part: string, text: string): boolean {
  let at = 0;
  for (const char of text) if (char === part[at]) at += 1;
  return at === part.length;
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
