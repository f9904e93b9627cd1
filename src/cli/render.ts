/** Shows a followed build: as JSON lines, as plain lines in a pipe, or with a progress line on a terminal. */
import type { WriteStream } from "node:tty";
import { printable } from "#/lib/text.ts";
import { formatElapsed } from "#/lib/units.ts";
import { TerminalFilter } from "./terminal.ts";

/** What happens to a build, as `--json` prints it. */
export type ShownEvent =
  | { readonly event: "created"; readonly job: string; readonly uuid: string; readonly handle: string }
  | { readonly event: "started"; readonly [fact: string]: unknown }
  | { readonly event: "output"; readonly text: string }
  | { readonly event: "progress"; readonly percent: number }
  | { readonly event: "stopping"; readonly again: string }
  | { readonly event: "notice"; readonly text: string }
  | { readonly event: "ended"; readonly result?: string; readonly reason?: string; readonly cause?: string };

export interface Renderer extends Disposable {
  show(event: ShownEvent): void;
}

export type Out = Pick<WriteStream, "write"> & { readonly isTTY?: boolean; readonly columns?: number };

/** @param options.raw pass the build's control sequences on, even to a terminal */
export function chooseRenderer(out: Out, { json = false, raw = false } = {}): Renderer {
  if (json) return new JsonLines(out);
  const filter = out.isTTY && !raw ? new TerminalFilter() : undefined;
  return out.isTTY && process.env.TERM !== "dumb" ? new Terminal(out, filter) : new PlainLines(out, filter);
}

class JsonLines implements Renderer {
  readonly #out: Out;

  constructor(out: Out) {
    this.#out = out;
  }

  show(event: ShownEvent): void {
    // A terminal acts on C1 controls, too, which JSON leaves as they are.
    const line = JSON.stringify(event).replaceAll(
      /\p{Cc}/gu,
      (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
    this.#out.write(`${line}\n`);
  }

  [Symbol.dispose](): void {}
}

/** The build's output, and a line of our own for each event. */
class PlainLines implements Renderer {
  readonly #out: Out;
  readonly #filter: TerminalFilter | undefined;
  readonly #begun = performance.now();
  #atLineStart = true;

  /** @param filter of the output; absent: it stays as it is */
  constructor(out: Out, filter?: TerminalFilter) {
    this.#out = out;
    this.#filter = filter;
  }

  get atLineStart(): boolean {
    return this.#atLineStart;
  }

  show(event: ShownEvent): void {
    if (event.event === "output") {
      const text = this.#filter?.write(event.text) ?? event.text;
      if (text === "") return;
      this.#out.write(text);
      this.#atLineStart = text.endsWith("\n");
      return;
    }
    const line = this.#line(event);
    if (line === undefined) return;
    // Names, results and reasons come from outside, too.
    this.#out.write(`${this.#atLineStart ? "" : "\n"}${printable(line)}\n`);
    this.#atLineStart = true;
  }

  #line(event: Exclude<ShownEvent, { event: "output" }>): string | undefined {
    switch (event.event) {
      case "created":
        return `${event.job} is queued as ${event.uuid}`;
      case "started":
        return `${event.name}#${event.number} runs on ${event.node_name}: ${event.url}`;
      case "stopping":
        return `stopping the build; ${event.again}`;
      case "notice":
        return `[${event.text}]`;
      case "ended": {
        const took = formatElapsed(performance.now() - this.#begun);
        const reason = event.reason === undefined ? "" : `: ${event.reason}`;
        if (event.result === undefined) {
          return `no result after ${took}${reason || ": the infrastructure failed, not the build"}; run it again`;
        }
        return `${event.result} after ${took}${reason}`;
      }
      case "progress":
        return undefined;
    }
  }

  [Symbol.dispose](): void {}
}

/** Plain lines with a progress line below them. */
class Terminal implements Renderer {
  readonly #out: Out;
  readonly #lines: PlainLines;
  readonly #progress: ProgressLine;

  constructor(out: Out, filter?: TerminalFilter) {
    this.#out = out;
    this.#lines = new PlainLines(out, filter);
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
