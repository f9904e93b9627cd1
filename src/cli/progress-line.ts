/** A line of progress on a terminal, which is drawn at the start of a line and erased before anything else is written. */
import { printable } from "#/lib/text.ts";
import { duration } from "./print.ts";
import type { Out } from "./render.ts";

/** How often the time in the line goes on, in milliseconds. */
const interval = 1000;
const width = 20;

/**
 *     hidden ──draw──▶ drawn (goes on by itself) ──erase──▶ hidden
 */
export class ProgressLine implements Disposable {
  title = "queued";
  /** From 0 to 100. */
  percent = 0;
  readonly #out: Out;
  readonly #begun = performance.now();
  #timer: NodeJS.Timeout | undefined;

  constructor(out: Out) {
    this.#out = out;
  }

  /** Draws it where the cursor is, which has to be the start of a line. */
  draw(): void {
    this.#timer ??= setInterval(() => this.#paint(), interval);
    this.#paint();
  }

  erase(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#out.write("\r\u001b[K");
  }

  #paint(): void {
    const filled = Math.round((this.percent / 100) * width);
    const bar = "━".repeat(filled) + "╌".repeat(width - filled);
    const line = `${printable(this.title)} ${bar} ${this.percent} % ${duration(performance.now() - this.#begun)}`;
    // One column short of the edge, where terminals would wrap.
    const fitting = line.slice(0, Math.max(0, (this.#out.columns || 80) - 1));
    this.#out.write(`\r\u001b[K\u001b[2m${fitting}\u001b[0m`);
  }

  [Symbol.dispose](): void {
    this.erase();
  }
}
