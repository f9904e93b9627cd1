/** How a conversation listens: text without noise, and an eye on what says that the board crashed or booted again. */
import type { Dialogue } from "./dialogue.ts";
import { NoiseFilter } from "./linux/noise.ts";

/** What a kernel says when it stops. */
const panics = [/Kernel panic - not syncing/, /### ERROR ### Please RESET the board/];

/** The first words of boot loaders and kernels, each at most once in a boot. */
const bootLines = [
  /^U-Boot (?:SPL |TPL )?20\d\d\.\d/,
  /^(?:<debug_uart> *)?(?:U-Boot SPL|U-Boot TPL) 20/,
  /^barebox 20\d\d/,
  /^NOTICE: {1,4}BL\d/,
  /^DRAM: /,
  /^Hit any key to stop autoboot/,
  /^Starting kernel \.\.\./,
  /GNU GRUB +version/,
  /Booting Linux on physical CPU/,
  /(?:^|\] )Linux version \d/,
  /(?:^|\] )reboot: (?:Restarting system|Power down|System halted)/,
  /^resetting \.\.\./,
];
const longestLine = 400;
const recentBytes = 1024;

export class Hearing {
  readonly filter = new NoiseFilter();
  /** Bytes heard in all. */
  heard = 0;
  /** The time of the last read's end. */
  now = 0;
  /** When a byte last came. */
  lastByte = 0;
  /** The line that says that the kernel stopped. */
  panic: string | undefined;
  /** The different lines of a boot since this was last emptied. */
  readonly boot = new Set<string>();
  #line = "";
  #recent: Buffer = Buffer.alloc(0);

  /** What came, without noise, as text of one byte a character; "" after so many milliseconds of silence. */
  *read(timeout: number): Dialogue<string> {
    const { bytes, now } = yield { kind: "read", timeoutMs: Math.max(0, Math.ceil(timeout)) };
    this.now = now;
    if (bytes.length === 0) return this.filter.flush();
    this.lastByte = now;
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
    this.#watch(text);
    this.heard += bytes.length;
    this.#recent = Buffer.concat([this.#recent, bytes.subarray(-recentBytes)]).subarray(-recentBytes);
    return this.filter.feed(text);
  }

  /** All that comes until there was silence for so long, or `limit` is over; the last 4 KiB of it. */
  *drain(silence: number, limit: number): Dialogue<string> {
    let text = "";
    const until = this.now + limit;
    for (;;) {
      const before = this.lastByte;
      text = (text + (yield* this.read(silence))).slice(-4096);
      if (this.lastByte === before || this.now >= until) return text;
    }
  }

  *write(text: string, secret = false): Dialogue<void> {
    const { now } = yield { kind: "write", bytes: Buffer.from(text, "latin1"), ...(secret && { secret }) };
    this.now = now;
  }

  /** Whether what came last is mostly no text, as with another speed. */
  get garbled(): boolean {
    return this.#recent.length >= 16 && shareOdd(this.#recent) > 0.25;
  }

  /** What was seen of a boot still counts, and a kernel that stopped is about to boot. */
  settle(): void {
    if (this.panic !== undefined) this.boot.add("panic");
    this.panic = undefined;
  }

  /** Forgets what was seen of a boot. */
  forget(): void {
    this.boot.clear();
    this.panic = undefined;
  }

  #watch(text: string): void {
    for (let from = 0; from < text.length; ) {
      const end = text.indexOf("\n", from);
      if (this.#line.length < longestLine) {
        this.#line += text.slice(from, end < 0 ? undefined : end).slice(0, longestLine);
      }
      if (end < 0) return;
      this.#judge(this.#line);
      this.#line = "";
      from = end + 1;
    }
  }

  #judge(line: string): void {
    if (!/[a-zA-Z]{4}/.test(line)) return;
    if (panics.some((pattern) => pattern.test(line))) this.panic = readable(line);
    for (const pattern of bootLines) if (pattern.test(line)) this.boot.add(pattern.source);
  }
}

/** A board's line in a message of ours: what can be read of it, in one line. */
export function readable(text: string): string {
  return text
    .replace(/[^\x20-\x7e]+/g, " ")
    .trim()
    .slice(0, 160);
}

/** The share of bytes that no console with the right speed sends. Text beyond ASCII is UTF-8, and so is no noise. */
function shareOdd(bytes: Buffer): number {
  let odd = 0;
  for (const byte of bytes) if (byte < 32 && !(byte >= 7 && byte <= 15) && byte !== 27) odd++;
  for (const character of bytes.toString("utf8")) if (character === "\ufffd") odd++;
  return bytes.length === 0 ? 0 : odd / bytes.length;
}
