/** A board that runs Linux, as a console hears it: without the kernel's noise, and with an eye on boots and panics. */
import type { Dialogue } from "../dialogue.ts";
import { Expect, readable } from "../expect.ts";
import { NoiseFilter } from "./noise.ts";

/** Of text that is searched for a prompt or an answer. */
const maxTailLength = 4096;

export class LinuxBoard extends Expect {
  readonly filter: NoiseFilter;
  readonly boot: BootWatch;

  constructor() {
    const filter = new NoiseFilter();
    const boot = new BootWatch();
    super({ filter, onLine: (line) => boot.line(line) });
    this.filter = filter;
    this.boot = boot;
  }

  /** @returns the next text, which isn't buffered; none after the timeout, or when only noise came */
  *next(timeoutMs: number): Dialogue<string> {
    yield* this.read(timeoutMs);
    return this.take(this.buffer.length);
  }

  /** Reads until nothing, not even noise, comes for so long. @returns the end of the text */
  *drain(silenceMs: number, timeoutMs: number): Dialogue<string> {
    const end = this.now + timeoutMs;
    for (let text = ""; ; ) {
      const before = this.received;
      text = (text + (yield* this.next(silenceMs))).slice(-maxTailLength);
      if (this.received === before || this.now >= end) return text;
    }
  }

  /**
   * Reads until the text has what is expected, or no text comes for so long.
   * @param silenceMs may depend on the text
   * @returns the end of the text
   */
  *readUntil(
    has: (text: string) => boolean,
    timeoutMs: number,
    silenceMs: (text: string) => number = () => timeoutMs,
  ): Dialogue<string> {
    const end = this.now + timeoutMs;
    let text = "";
    for (let lastText = this.now; this.now < end && !has(text); ) {
      const left = lastText + silenceMs(text) - this.now;
      if (left <= 0) return text;
      const fresh = yield* this.next(Math.min(left, end - this.now));
      text = (text + fresh).slice(-maxTailLength);
      if (fresh !== "") lastText = this.now;
    }
    return text;
  }
}

const panics = [/Kernel panic - not syncing/, /### ERROR ### Please RESET the board/];

/** Lines of a panic's end, of boot loaders and of kernels, each at most once in a boot. */
const bootLines = [
  /---\[ end Kernel panic/,
  /(?:^|\] )Rebooting in \d+ seconds/,
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

class BootWatch {
  /** The line that reports a panic. */
  panic: string | undefined;
  /** The different lines of a boot so far. */
  readonly lines = new Set<string>();

  line(line: string): void {
    if (!/[a-zA-Z]{4}/.test(line)) return;
    if (panics.some((pattern) => pattern.test(line))) this.panic = readable(line).slice(0, 160);
    for (const pattern of bootLines) if (pattern.test(line)) this.lines.add(pattern.source);
  }

  /** A kernel that panicked is about to boot. */
  panicStartsBoot(): void {
    if (this.panic !== undefined) this.lines.add("panic");
    this.panic = undefined;
  }

  forget(): void {
    this.lines.clear();
    this.panic = undefined;
  }
}
