/**
 * Reassembles the answers of our program on the board (server.ts) from the console's stream. A frame is
 *
 *     ~TOKEN#SEGMENT:UNIT:SIZE:CHECKSUM
 *     (base64 or hexadecimal, in lines)
 *     ~TOKEN.SEGMENT:UNIT:SIZE:CHECKSUM
 *
 * With `=` in place of `#` the frame is ASCII, on one line, each character with its eighth bit set: as short as the text itself, and other
 * programs' text stands out. With `+` it is any bytes, but for those that terminals, other programs or this protocol act on: each of
 * these takes the place of a rare byte, and all rare bytes become the last of them. A line of letters in front says which each of those
 * was. A line that isn't clean in eight bits damages both.
 *
 * UNIT is the place in the segment, in units of 64 bytes. SIZE is the size of the segment in bytes, and CHECKSUM covers the frame's
 * bytes. No checksum covers the header, so a frame counts only if its two ends agree. Every other answer is a line that contains its
 * words twice: `~TOKEN:WORD:…:WORD:…`. The host makes up a new token for each request.
 */
import { type ChecksumProgram, checksum } from "./checksum.ts";

export const unitBytes = 64;
/** Of the largest frame that labgear asks for. */
export const maxFrameBytes = 8192;

/** Of frames in seven bits. */
export type Encoding = "base64" | "hex";

export type Answer =
  | {
      readonly kind: "frame";
      readonly token: string;
      readonly segment: number;
      readonly unit: number;
      /** The size of the whole segment, in bytes. */
      readonly size: number;
      readonly bytes: Uint8Array;
      /** It came in eight bits. */
      readonly isDense?: true;
    }
  /** A frame that doesn't match its checksum. */
  | { readonly kind: "damaged"; readonly token: string; readonly isDense?: true }
  | { readonly kind: "words"; readonly token: string; readonly words: readonly string[] };

export type Frame = Extract<Answer, { kind: "frame" }>;

const edge = /~([a-z0-9]{8})([#=+.])((\d{1,9}):(\d{1,9}):(\d{1,12}):([0-9a-f]{1,128}))$/;
const words = /~([a-z0-9]{8}):([\w:.+-]{1,300})$/;
/** A longer line isn't ours. */
const maxLineLength = 2 * maxFrameBytes;
/** Of an encoded frame, with other programs' lines in it. */
const maxOpenLength = maxFrameBytes * 6 + 4096;

/** NUL, LF, CR, XON, XOFF, ESC, `<`, `[`, `~` and telnet's IAC. */
const replaced = [0x00, 0x0a, 0x0d, 0x11, 0x13, 0x1b, 0x3c, 0x5b, 0x7e, 0xff];
/** Hardly any text or program has these eleven. */
const firstRare = 0xf1;
const lastRare = firstRare + replaced.length;
const firstLetter = 0x61;
/** Of another program's line in a frame. */
const maxForeignLength = 400;

/** A frame whose end hasn't come yet. */
interface Open {
  readonly token: string;
  readonly header: string;
  readonly mark: string;
  readonly segment: number;
  readonly unit: number;
  readonly size: number;
  readonly sum: string;
  /** As they came; another program's line may end in `\r`. */
  readonly lines: string[];
  length: number;
}

/** Turns text without kernel lines into answers. */
export class AnswerReader {
  readonly #sum: ChecksumProgram;
  readonly #encoding: Encoding;
  #line = "";
  #open: Open | undefined;

  constructor(sum: ChecksumProgram, encoding: Encoding) {
    this.#sum = sum;
    this.#encoding = encoding;
  }

  feed(text: string): Answer[] {
    const answers: Answer[] = [];
    for (let from = 0; from < text.length; ) {
      const end = text.indexOf("\n", from);
      const piece = text.slice(from, end < 0 ? undefined : end);
      if (this.#line.length < maxLineLength) this.#line += piece;
      if (end < 0) break;
      from = end + 1;
      const line = this.#line;
      this.#line = "";
      answers.push(...this.#take(line));
    }
    return answers;
  }

  #take(line: string): Answer[] {
    const plain = line.endsWith("\r") ? line.slice(0, -1) : line;
    const at = plain.lastIndexOf("~");
    if (at >= 0) {
      const found = edge.exec(plain);
      if (found) return this.#edge(found, plain.slice(0, at));
      const said = words.exec(plain);
      if (said) {
        const all = (said[2] ?? "").split(":");
        const half = all.slice(0, all.length / 2);
        const same = all.length % 2 === 0 && half.every((word, index) => word === all[index + half.length]);
        const before = this.#drop();
        return same ? [...before, { kind: "words", token: said[1] ?? "", words: half }] : before;
      }
    }
    const open = this.#open;
    if (!open) return [];
    open.lines.push(line);
    open.length += line.length + 1;
    return open.length > maxOpenLength ? this.#drop() : [];
  }

  /** The beginning or end of a frame. Text that noise pushed in front of an end belongs to the frame. */
  #edge(found: RegExpExecArray, before: string): Answer[] {
    const [, token = "", mark = "", header = "", segment, place, size, sum = ""] = found;
    const open = this.#open;
    if (mark !== ".") {
      const damaged = this.#drop();
      const numbers = { segment: Number(segment), unit: Number(place), size: Number(size) };
      this.#open = { token, header, mark, ...numbers, sum, lines: [], length: 0 };
      return damaged;
    }
    if (!open || open.token !== token || open.header !== header) return this.#drop();
    if (before !== "") open.lines.push(before);
    return this.#end();
  }

  /** Gives up the open frame. */
  #drop(): Answer[] {
    const open = this.#open;
    this.#open = undefined;
    return open ? [{ kind: "damaged", token: open.token, ...(open.mark !== "#" && { isDense: true }) }] : [];
  }

  /** Decodes the open frame. */
  #end(): Answer[] {
    const open = this.#open;
    this.#open = undefined;
    if (!open) return [];
    const { token, segment, unit: place, size, sum } = open;
    const dense = open.mark !== "#" && ({ isDense: true } as const);
    for (const bytes of this.#decoded(open)) {
      if (checksum(this.#sum, bytes) === sum)
        return [{ kind: "frame", token, segment, unit: place, size, bytes, ...dense }];
    }
    return [{ kind: "damaged", token, ...dense }];
  }

  *#decoded({ mark, lines, size, unit: place }: Open): Generator<Uint8Array> {
    if (mark === "=") yield lowHalf(lines);
    else if (mark === "+") yield* withRare(lines, size - place * unitBytes);
    else
      for (const text of readings(this.#encoding, lines)) {
        const bytes = decode(this.#encoding, text);
        if (bytes) yield bytes;
      }
  }
}

/** Characters without the eighth bit are other programs'. */
function lowHalf(lines: readonly string[]): Uint8Array {
  return Buffer.from(lines.join("").replace(/[^\x80-\xff]+/g, ""), "latin1").map((byte) => byte & 0x7f);
}

/**
 * What a frame of any bytes may have been before another program's line came in between.
 * @param left so many bytes of the segment, at most
 */
function* withRare(lines: readonly string[], left: number): Generator<Uint8Array> {
  const plain = lines.map((line) => line.replaceAll("\r", ""));
  const from = plain.findIndex((line) => /^[a-k]*$/.test(line));
  const [letters = "", first = "", rest] = plain.slice(Math.max(0, from));
  if (rest === undefined) return yield restored(letters, first);
  // A frame has whole units, or all that is left.
  const lengths = [left];
  for (let length = unitBytes; length <= first.length + rest.length; length += unitBytes)
    lengths.push(length);
  for (const length of lengths) {
    const at = length - rest.length;
    const foreign = first.slice(Math.max(0, at));
    if (at >= 0 && foreign.length <= maxForeignLength && /^[ -~]+$/.test(foreign))
      yield restored(letters, first.slice(0, at) + rest);
  }
}

/** @param letters say which the rare bytes were */
function restored(letters: string, text: string): Uint8Array {
  let at = 0;
  return Buffer.from(text, "latin1").map((byte) => {
    if (byte === lastRare) return firstRare + letters.charCodeAt(at++) - firstLetter;
    return replaced[byte - firstRare] ?? byte;
  });
}

const alphabet = { base64: /^[A-Za-z0-9+/=]*$/, hex: /^[0-9a-f ]*$/ } as const;

/** What the lines may have been before other programs' lines came in between, the likeliest first. */
function* readings(encoding: Encoding, lines: readonly string[]): Generator<string> {
  const ours = (line: string) => alphabet[encoding].test(line);
  const plain = lines.map((line) => line.replace("\r", ""));
  // Other characters give away whole lines of other programs.
  yield plain.filter(ours).join("");
  if (plain.every(ours)) return;
  // Another program's line began in the middle of one of ours, whose rest came after it. The other lines show how long ours are.
  const full = Math.max(...plain.filter(ours).map((line) => line.length), 0);
  yield joinAround(plain, full, full, ours);
  // The last line is short. Encoders print lines of up to 80 characters.
  for (let last = 0; last < Math.min(full, 80); last++) yield joinAround(plain, full, last, ours);
}

/** @param full the length of our lines @param last the length of the last one */
function joinAround(
  lines: readonly string[],
  full: number,
  last: number,
  ours: (line: string) => boolean,
): string {
  let joined = "";
  for (const [index, line] of lines.entries()) {
    if (ours(line)) {
      joined += line;
      continue;
    }
    const rest = lines[index + 1] ?? "";
    const length = (index + 2 >= lines.length ? last : full) - rest.length;
    const beginning = line.slice(0, Math.max(0, length));
    if (ours(rest) && ours(beginning)) joined += beginning;
  }
  return joined;
}

/** @returns undefined when the text isn't a valid encoding */
function decode(encoding: Encoding, text: string): Uint8Array | undefined {
  if (encoding === "hex") {
    const digits = text.replaceAll(" ", "");
    return digits.length % 2 === 0 ? Buffer.from(digits, "hex") : undefined;
  }
  return text.length % 4 === 0 ? Buffer.from(text, "base64") : undefined;
}
