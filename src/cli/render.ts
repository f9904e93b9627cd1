/** How a followed build is shown: JSON lines, plain lines in a pipe, or with a line of progress on a terminal. */
import type { WriteStream } from "node:tty";
import { printable } from "#/lib/text.ts";
import { duration } from "./print.ts";
import { ProgressLine } from "./progress-line.ts";

/** What can be shown of a build, as `--json` prints it. */
export type ShownEvent =
  | { readonly event: "created"; readonly job: string; readonly uuid: string; readonly handle: string }
  | { readonly event: "started"; readonly [fact: string]: unknown }
  | { readonly event: "output"; readonly text: string }
  | { readonly event: "progress"; readonly percent: number }
  | { readonly event: "stopping"; readonly again: string }
  | { readonly event: "notice"; readonly text: string }
  | { readonly event: "ended"; readonly result?: string; readonly reason?: string };

export interface Renderer extends Disposable {
  show(event: ShownEvent): void;
}

export type Out = Pick<WriteStream, "write"> & { readonly isTTY?: boolean; readonly columns?: number };

/** The renderer for where the output goes. */
export function chooseRenderer(out: Out, json: boolean): Renderer {
  if (json) return new JsonLines(out);
  return out.isTTY && process.env.TERM !== "dumb" ? new Terminal(out) : new PlainLines(out);
}

class JsonLines implements Renderer {
  readonly #out: Out;

  constructor(out: Out) {
    this.#out = out;
  }

  show(event: ShownEvent): void {
    this.#out.write(`${JSON.stringify(event)}\n`);
  }

  [Symbol.dispose](): void {}
}

/** The build's output as it is, and a line of ours for what happens to it. */
class PlainLines implements Renderer {
  readonly #out: Out;
  readonly #begun = performance.now();
  #atLineStart = true;

  constructor(out: Out) {
    this.#out = out;
  }

  get atLineStart(): boolean {
    return this.#atLineStart;
  }

  show(event: ShownEvent): void {
    if (event.event === "output") {
      if (event.text === "") return;
      this.#out.write(event.text);
      this.#atLineStart = event.text.endsWith("\n");
      return;
    }
    const line = this.#line(event);
    if (line === undefined) return;
    // Names, results and reasons come from outside, and mustn't steer the terminal as the console may.
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
        const took = duration(performance.now() - this.#begun);
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

/** As plain lines, with a line of progress kept below them. */
class Terminal implements Renderer {
  readonly #out: Out;
  readonly #lines: PlainLines;
  readonly #progress: ProgressLine;

  constructor(out: Out) {
    this.#out = out;
    this.#lines = new PlainLines(out);
    this.#progress = new ProgressLine(out);
  }

  show(event: ShownEvent): void {
    this.#progress.erase();
    if (event.event === "progress") this.#progress.percent = event.percent;
    if (event.event === "started") this.#progress.title = `${event.name}#${event.number}`;
    // What colours the job has left behind end with it.
    if (event.event === "ended") this.#out.write("\u001b[0m");
    this.#lines.show(event);
    if (event.event === "ended") this.#progress[Symbol.dispose]();
    else if (this.#lines.atLineStart) this.#progress.draw();
  }

  [Symbol.dispose](): void {
    this.#progress[Symbol.dispose]();
  }
}
