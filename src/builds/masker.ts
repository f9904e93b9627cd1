/**
 * Masks secrets in a stream of bytes, wherever its chunks are cut: as they are, and in the encodings that tools print them in. Pure.
 */
import { secretLines } from "#/lib/environment.ts";

const mask = Buffer.from("[masked]");

const newline = 10;
const carriageReturn = 13;

/** Masks one stream. Ends of lines within a secret are skipped: base64(1) and xxd(1) wrap their lines, and so does a terminal. */
export class Masker {
  readonly #forms: Automaton;
  #state = 0;
  /** Bytes that may be the beginning of a secret. */
  #held: Buffer = Buffer.alloc(0);
  /** Offset of the held bytes in the stream. */
  #base = 0;
  /** Offsets of the ends of lines that were skipped within what may be a secret. */
  #skipped: number[] = [];
  /** Secrets that were found and not yet written: offsets in the stream, in order and apart. */
  #found: { start: number; end: number }[] = [];
  /** Secrets next to each other get one mask. */
  #isMasked = false;

  /** @param secrets each is masked line by line */
  constructor(secrets: readonly Uint8Array[] | Automaton) {
    this.#forms =
      secrets instanceof Automaton ? secrets : new Automaton(secrets.flatMap(secretLines).flatMap(formsOf));
  }

  /** @returns one for another stream, with the same secrets */
  fresh(): Masker {
    return new Masker(this.#forms);
  }

  /** @returns a whole text of its own, masked; call it between streams, not within one */
  text(text: string): string {
    const masked = Buffer.concat([this.write(Buffer.from(text)), this.end()]);
    return masked.toString();
  }

  /** @returns what can be written: all but the bytes that may be the beginning of a secret */
  write(chunk: Uint8Array): Buffer {
    const from = this.#base + this.#held.length;
    this.#held = Buffer.concat([this.#held, chunk]);
    for (let at = 0; at < chunk.length; at += 1) this.#take(chunk[at] ?? 0, from + at);
    return this.#release(this.#startOfMatch(from + chunk.length));
  }

  /** @returns the bytes that were held back at the end of the stream */
  end(): Buffer {
    this.#state = 0;
    const rest = this.#release(this.#base + this.#held.length);
    this.#isMasked = false;
    return rest;
  }

  #take(byte: number, offset: number): void {
    const forms = this.#forms;
    if (byte === newline || byte === carriageReturn) {
      const last = this.#skipped.at(-1);
      const isEnd =
        last !== offset - 1 || (byte === newline && this.#held[last - this.#base] === carriageReturn);
      if (isEnd && forms.depth(this.#state) >= wrapped) this.#skipped.push(offset);
      else this.#state = 0;
      return;
    }
    this.#state = forms.next(this.#state, byte);
    if (this.#state === 0) {
      if (this.#skipped.length > 0) this.#skipped = [];
      return;
    }
    const length = forms.longest(this.#state);
    if (length === 0) return;
    const start = this.#startOf(length, offset + 1);
    let last = this.#found.at(-1);
    while (last && last.start >= start) {
      this.#found.pop();
      last = this.#found.at(-1);
    }
    if (last && last.end >= start) last.end = offset + 1;
    else this.#found.push({ start, end: offset + 1 });
  }

  /** Where a match of so many bytes, without the skipped ones, begins. */
  #startOf(length: number, end: number): number {
    let start = end - length;
    for (let index = this.#skipped.length - 1; index >= 0; index -= 1) {
      if ((this.#skipped[index] ?? 0) < start) break;
      start -= 1;
    }
    return start;
  }

  #startOfMatch(end: number): number {
    return this.#startOf(this.#forms.depth(this.#state), end);
  }

  #release(until: number): Buffer {
    const parts: Buffer[] = [];
    const bytes = (from: number, to: number) => {
      if (from >= to) return;
      parts.push(this.#held.subarray(from - this.#base, to - this.#base));
      this.#isMasked = false;
    };
    let at = this.#base;
    while (at < until) {
      const next = this.#found[0];
      if (!next || next.start >= until) {
        bytes(at, until);
        break;
      }
      bytes(at, next.start);
      if (!this.#isMasked) parts.push(mask);
      this.#isMasked = true;
      at = Math.min(next.end, until);
      if (next.end > until) next.start = until;
      else this.#found.shift();
    }
    this.#held = this.#held.subarray(until - this.#base);
    this.#base = until;
    this.#skipped = this.#skipped.filter((offset) => offset >= until);
    return Buffer.concat(parts);
  }
}

/** So many bytes of a form have to come before the end of a line that is skipped. */
const wrapped = 4;
/** From this length on, a form is also found when less than `wrapped` bytes of it come before the end of a line. */
const long = 16;

function formsOf(line: Buffer): Buffer[] {
  const forms = new Set([line.toString("latin1"), ...base64(line), ...hex(line)]);
  for (const form of [...urlEncoded(line), ...quoted(line)]) forms.add(form);
  for (const form of [...forms]) {
    if (form.length >= long) for (let cut = 1; cut < wrapped; cut += 1) forms.add(form.slice(cut));
  }
  return [...forms].map((form) => Buffer.from(form, "latin1"));
}

/** In the middle of other data, a secret's base64 depends on its place modulo 3; the characters at its edges have bits of others. */
function base64(line: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const whole = Buffer.concat([Buffer.alloc(before), line]);
    const inside = whole
      .toString("base64")
      .slice(Math.ceil((before * 8) / 6), Math.floor((whole.length * 8) / 6));
    return [inside, inside.replaceAll("+", "-").replaceAll("/", "_")];
  });
}

/** Also byte by byte, as od shows it. */
function hex(line: Buffer): string[] {
  const text = line.toString("hex");
  const apart = text.replaceAll(/..(?!$)/g, "$& ");
  return [text, apart].flatMap((form) => [form, form.toUpperCase()]);
}

/** By what a tool leaves as it is: all that is unreserved (RFC 3986), slashes as well, what JavaScript leaves, or what forms leave. */
function urlEncoded(line: Buffer): string[] {
  return [/[\w.~-]/, /[\w.~/-]/, /[\w.~!'()*-]/, /[\w.*-]/].flatMap((plain) => {
    const encoded = [...line]
      .map((byte) => {
        const char = String.fromCharCode(byte);
        return plain.test(char) ? char : `%${byte.toString(16).padStart(2, "0").toUpperCase()}`;
      })
      .join("");
    const lower = encoded.replaceAll(/%../g, (code) => code.toLowerCase());
    return [encoded, lower, encoded.replaceAll("%20", "+"), lower.replaceAll("%20", "+")];
  });
}

/** In JSON, in XML and HTML, as Python shows it, and as shells do (`set -x` of dash and bash, `printf %q`). */
function quoted(line: Buffer): string[] {
  const text = line.toString();
  const json = JSON.stringify(text).slice(1, -1);
  const xml = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const attributes = ["&quot;", "&#34;"].map((entity) => xml.replaceAll('"', entity));
  const apostrophes = ["'", "&#39;", "&apos;", "&#x27;", "&#039;"];
  const repr = text.replaceAll("\\", "\\\\");
  return [
    ...[json, json.replaceAll("/", "\\/")],
    json.replaceAll(/[^ -~]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`),
    ...[xml, ...attributes.flatMap((form) => apostrophes.map((entity) => form.replaceAll("'", entity)))],
    ...[repr, repr.replaceAll("'", "\\'")],
    ...[text.replaceAll("'", "'\\''"), text.replaceAll("'", `'"'"'`)],
    text.replaceAll(/[\s"'\\|&;()<>!{}*[\]?^$`,]/g, "\\$&"),
  ].map((form) => Buffer.from(form).toString("latin1"));
}

/**
 * Finds words (Aho and Corasick): the time doesn't depend on their number. State 0 is the start. Most states have one successor, so
 * successors are lists, but for the first two bytes.
 */
class Automaton {
  readonly #byte: Uint8Array;
  readonly #child: Int32Array;
  readonly #sibling: Int32Array;
  readonly #fallback: Int32Array;
  readonly #depth: Int32Array;
  /** The length of the longest word that ends here. */
  readonly #longest: Int32Array;
  readonly #first = new Int32Array(256);
  /** By the first byte and the second. */
  readonly #second = new Int32Array(256 * 256);

  constructor(words: readonly Uint8Array[]) {
    const size = words.reduce((sum, word) => sum + word.length, 1);
    this.#byte = new Uint8Array(size);
    [this.#child, this.#sibling, this.#fallback] = [
      new Int32Array(size),
      new Int32Array(size),
      new Int32Array(size),
    ];
    [this.#depth, this.#longest] = [new Int32Array(size), new Int32Array(size)];
    let states = 1;
    for (const word of words) {
      let state = 0;
      for (const byte of word) {
        let next = this.#successor(state, byte);
        if (next === 0) {
          next = states;
          states += 1;
          this.#byte[next] = byte;
          this.#depth[next] = (this.#depth[state] ?? 0) + 1;
          if (state === 0) this.#first[byte] = next;
          else {
            if (this.#depth[state] === 1) this.#second[((this.#byte[state] ?? 0) << 8) | byte] = next;
            this.#sibling[next] = this.#child[state] ?? 0;
            this.#child[state] = next;
          }
        }
        state = next;
      }
      this.#longest[state] = word.length;
    }
    this.#link();
  }

  /** Breadth first: a state's fallback is shorter, so it is complete before the state is. */
  #link(): void {
    const queue = [...this.#first].filter((state) => state !== 0);
    for (const state of queue) {
      const row = (this.#byte[state] ?? 0) << 8;
      for (let byte = 0; byte < 256; byte += 1) this.#second[row | byte] ||= this.#first[byte] ?? 0;
    }
    for (let at = 0; at < queue.length; at += 1) {
      const state = queue[at] ?? 0;
      for (let next = this.#child[state] ?? 0; next !== 0; next = this.#sibling[next] ?? 0) {
        const fallback = this.next(this.#fallback[state] ?? 0, this.#byte[next] ?? 0);
        this.#fallback[next] = fallback;
        this.#longest[next] ||= this.#longest[fallback] ?? 0;
        queue.push(next);
      }
    }
  }

  /** The state after so many bytes of a word and one more, in the word alone; 0: none. */
  #successor(state: number, byte: number): number {
    if (state === 0) return this.#first[byte] ?? 0;
    let next = this.#child[state] ?? 0;
    while (next !== 0 && this.#byte[next] !== byte) next = this.#sibling[next] ?? 0;
    return next;
  }

  next(from: number, byte: number): number {
    let state = from;
    while ((this.#depth[state] ?? 0) > 1) {
      const next = this.#successor(state, byte);
      if (next !== 0) return next;
      state = this.#fallback[state] ?? 0;
    }
    if (state === 0) return this.#first[byte] ?? 0;
    return this.#second[((this.#byte[state] ?? 0) << 8) | byte] ?? 0;
  }

  /** How many bytes of a word have come. */
  depth(state: number): number {
    return this.#depth[state] ?? 0;
  }

  longest(state: number): number {
    return this.#longest[state] ?? 0;
  }
}
