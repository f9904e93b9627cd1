/** On a terminal: plain lines with a line of progress below them. */
import { printable } from "#/lib/text.ts";
import { formatElapsed } from "#/lib/units.ts";
import type { Out, Renderer, ShownEvent } from "./events.ts";
import type { PlainLines } from "./lines.ts";

export class TerminalLines implements Renderer {
  readonly #out: Out;
  readonly #lines: PlainLines;
  readonly #progress: ProgressLine;

  /** @param out the terminal, on which our own lines go */
  constructor(out: Out, lines: PlainLines) {
    this.#out = out;
    this.#lines = lines;
    this.#progress = new ProgressLine(out);
  }

  show(event: ShownEvent): void {
    this.#progress.erase();
    if (event.event === "progress") this.#progress.percent = event.percent;
    if (event.event === "started") this.#progress.title = `${event.name}#${event.number}`;
    // Reset the colours that the job left on.
    if (event.event === "ended") this.#out.write("\u001b[0m");
    this.#lines.show(event);
    if (event.event === "ended") this.#progress[Symbol.dispose]();
    else if (this.#lines.atLineStart) this.#progress.draw();
  }

  [Symbol.dispose](): void {
    this.#progress[Symbol.dispose]();
    this.#lines[Symbol.dispose]();
  }
}

const repaintIntervalMs = 1000;
const barWidth = 20;

/**
 * A line of progress, drawn at the start of a line and erased before anything else is written.
 *
 *     hidden ──draw──▶ drawn (repaints itself) ──erase──▶ hidden
 */
class ProgressLine implements Disposable {
  title = "queued";
  /** From 0 to 100. */
  percent = 0;
  readonly #out: Out;
  readonly #begun = performance.now();
  #timer: NodeJS.Timeout | undefined;

  constructor(out: Out) {
    this.#out = out;
  }

  /** The cursor must be at the start of a line. */
  draw(): void {
    this.#timer ??= setInterval(() => this.#paint(), repaintIntervalMs);
    this.#paint();
  }

  erase(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#out.write("\r\u001b[K");
  }

  #paint(): void {
    const filled = Math.round((this.percent / 100) * barWidth);
    const bar = "━".repeat(filled) + "╌".repeat(barWidth - filled);
    const line = `${printable(this.title)} ${bar} ${this.percent} % ${formatElapsed(performance.now() - this.#begun)}`;
    // One column short of the edge: terminals wrap there.
    const fitting = line.slice(0, Math.max(0, (this.#out.columns || 80) - 1));
    this.#out.write(`\r\u001b[K\u001b[2m${fitting}\u001b[0m`);
  }

  [Symbol.dispose](): void {
    this.erase();
  }
}
