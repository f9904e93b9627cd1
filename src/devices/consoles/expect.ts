/** Talks with a board in pexpect's words: sends text, and expects patterns in the text that comes. A character is a byte. */
import { BoardFailure } from "../errors.ts";
import type { Dialogue } from "./dialogue.ts";
import { withoutEscapes } from "./plain-text.ts";

/** Enough to tell text from noise. */
const maxRecentLength = 1024;
/** Of a line that is passed to `onLine`. The rest of a longer one is dropped. */
const maxLineLength = 400;

export interface ExpectOptions {
  /** Removes text that isn't part of the conversation. */
  readonly filter?: TextFilter;
  /** Called with each whole line, unfiltered. */
  readonly onLine?: (line: string) => void;
}

export interface TextFilter {
  /** @returns what is left of the text; an unclear end is held back */
  feed(text: string): string;
  /** Call it after a silence. @returns what was held back */
  flush(): string;
}

export class Expect {
  /** What came and hasn't been taken yet. */
  buffer = "";
  /** The time of the last step, in milliseconds. */
  now = 0;
  /** Bytes in all. */
  received = 0;
  lastByteAt = 0;
  readonly #filter: TextFilter | undefined;
  readonly #onLine: ((line: string) => void) | undefined;
  #line = "";
  #recent: Buffer = Buffer.alloc(0);

  constructor({ filter, onLine }: ExpectOptions = {}) {
    this.#filter = filter;
    this.#onLine = onLine;
  }

  /** @returns whether any text came in time */
  *read(timeoutMs: number): Dialogue<boolean> {
    const { bytes, now } = yield { kind: "read", timeoutMs: Math.max(0, Math.ceil(timeoutMs)) };
    this.now = now;
    const text = this.#receive(bytes);
    this.buffer += text;
    return text !== "";
  }

  #receive(bytes: Uint8Array): string {
    if (bytes.length === 0) return this.#filter?.flush() ?? "";
    this.lastByteAt = this.now;
    this.received += bytes.length;
    this.#recent = Buffer.concat([this.#recent, bytes.subarray(-maxRecentLength)]).subarray(-maxRecentLength);
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
    this.#watchLines(text);
    return this.#filter?.feed(text) ?? text;
  }

  /** Reads until the buffer matches. @returns the match; undefined after the timeout */
  *expect(pattern: RegExp, timeoutMs: number): Dialogue<RegExpExecArray | undefined> {
    const end = this.now + timeoutMs;
    for (;;) {
      const match = pattern.exec(this.buffer);
      if (match) return match;
      if (this.now >= end) return undefined;
      yield* this.read(end - this.now);
    }
  }

  /** Reads until the board has been silent for so long. @returns false when it never was */
  *silence(silenceMs: number, timeoutMs: number): Dialogue<boolean> {
    const end = this.now + timeoutMs;
    while (this.now < end) {
      const before = this.received;
      yield* this.read(Math.min(silenceMs, end - this.now));
      if (this.received === before) return true;
    }
    return false;
  }

  *send(text: string, secret = false): Dialogue<void> {
    const { now } = yield { kind: "write", bytes: Buffer.from(text, "latin1"), ...(secret && { secret }) };
    this.now = now;
  }

  /** Takes the first `length` characters out of the buffer. */
  take(length: number): string {
    const taken = this.buffer.slice(0, length);
    this.buffer = this.buffer.slice(length);
    return taken;
  }

  clear(): void {
    this.buffer = "";
  }

  /** Passes the buffer on as the job's output, without its last `keep` characters. @returns what was passed on */
  *pass(keep = 0): Dialogue<string> {
    const text = this.take(this.buffer.length - keep);
    if (text !== "") yield { kind: "output", bytes: Buffer.from(text, "latin1") };
    return text;
  }

  /** How many characters at the end of the buffer may be the beginning of the word. */
  startOf(word: string): number {
    for (let length = Math.min(this.buffer.length, word.length); length > 0; length -= 1)
      if (this.buffer.endsWith(word.slice(0, length))) return length;
    return 0;
  }

  /**
   * Why no prompt came.
   * @param prompt whose prompt, for the message
   * @param receivedBefore `received` at the beginning
   * @param sent what was sent last
   */
  noPrompt(prompt: string, receivedBefore: number, sent = ""): BoardFailure {
    const after = sent === "" ? "" : `, also after ${JSON.stringify(sent)} was sent`;
    if (this.received === receivedBefore) {
      return new BoardFailure(
        "silent",
        `the board sends nothing${after}: is it on, wired the right way round, with its console on this port?`,
      );
    }
    if (this.#recent.length >= 16 && shareOfNoise(this.#recent) > 0.25) {
      return new BoardFailure(
        "wrong-speed",
        "the board sends bytes that aren't text: check the port's baud rate",
      );
    }
    const recent = this.#recent.toString("latin1");
    const last = readable(recent).slice(-160);
    const stands = standingIn(recent);
    const there = stands === undefined ? "" : `; ${stands} stands there`;
    return new BoardFailure(
      "noise",
      `the board sends, but no ${prompt} prompt${after}${there}; last: ${JSON.stringify(last)}`,
    );
  }

  #watchLines(text: string): void {
    if (!this.#onLine) return;
    const [first = "", ...others] = text.split("\n");
    this.#line = (this.#line + first).slice(0, maxLineLength);
    for (const next of others) {
      this.#onLine(this.#line);
      this.#line = next.slice(0, maxLineLength);
    }
  }
}

/** The prompts of other systems than the expected one, as the last line. */
const prompts: readonly (readonly [what: string, prompt: RegExp])[] = [
  ["a login prompt", /\blogin: *$/i],
  ["a password prompt", /\bpassword: *$/i],
  ["MicroPython's prompt", /^>>> $/],
  ["barebox's prompt", /^barebox[@:].{1,80} $/],
  ["Zephyr's prompt", /^\w{1,20}:~\$ $/],
  ["NuttX's prompt", /nsh> $/],
  ["U-Boot's prompt", /^(?:=>|U-Boot>) $/],
  ["GRUB's prompt", /^grub(?: rescue)?> $/],
  ["a shell's prompt", /[#$] $/],
];

/** @returns what stands at the end of the output */
function standingIn(text: string): string | undefined {
  const plain = withoutEscapes(text);
  if (/\bGNU GRUB +version|Press any key to (?:continue|enter)|use the \S+ and \S+ keys/i.test(plain))
    return "a menu";
  const line = plain.slice(plain.lastIndexOf("\n") + 1).replaceAll("\r", "");
  return prompts.find(([, prompt]) => prompt.test(line))?.[0];
}

/** A board's text on one line, in printable ASCII. */
export function readable(text: string): string {
  return text.replace(/[^ -~]+/g, " ").trim();
}

/** The share of bytes that no console at the right speed sends. Text beyond ASCII is UTF-8, so it isn't noise. */
function shareOfNoise(bytes: Buffer): number {
  let noise = 0;
  for (const byte of bytes) if (byte < 32 && !(byte >= 7 && byte <= 15) && byte !== 27) noise++;
  for (const character of bytes.toString("utf8")) if (character === "\ufffd") noise++;
  return noise / bytes.length;
}
