/** How a followed build is shown: JSON lines, plain lines in a pipe, or with a line of progress on a terminal. */
import type { WriteStream } from "node:tty";
import { duration, plain } from "./print.ts";

/** What can be shown of a build, as `--json` prints it. */
export type ShownEvent =
  | { readonly event: "created"; readonly job: string; readonly uuid: string; readonly handle: string }
  | { readonly event: "started"; readonly [fact: string]: unknown }
  | { readonly event: "output"; readonly text: string }
  | { readonly event: "progress"; readonly percent: number }
  | { readonly event: "stopping"; readonly again: string }
  | { readonly event: "notice"; readonly text: string }
  | { readonly event: "ended"; readonly result?: string };

export interface Renderer extends AsyncDisposable {
  show(event: ShownEvent): void;
}

type Out = Pick<WriteStream, "write"> & { readonly isTTY?: boolean; readonly columns?: number };

/** The renderer for where the output goes. */
export function chooseRenderer(out: Out, json: boolean): Renderer {
  if (json) return new JsonLines(out);
  return out.isTTY ? new Terminal(out) : new PlainLines(out);
}

class JsonLines implements Renderer {
  readonly #out: Out;

  constructor(out: Out) {
    this.#out = out;
  }

  show(event: ShownEvent): void {
    this.#out.write(`${JSON.stringify(event)}\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** The build's output as it is, and a line of ours for what happens to it. */
class PlainLines implements Renderer {
  readonly #out: Out;
  readonly #begun = performance.now();
  #atLineStart = true;

  constructor(out: Out) {
    this.#out = out;
  }

  show(event: ShownEvent): void {
    if (event.event === "output") {
      this.#out.write(event.text);
      this.#atLineStart = event.text.endsWith("\n");
      return;
    }
    const line = this.#line(event);
    if (line === undefined) return;
    this.#out.write(`${this.#atLineStart ? "" : "\n"}${line}\n`);
    this.#atLineStart = true;
  }

  #line(event: Exclude<ShownEvent, { event: "output" }>): string | undefined {
    switch (event.event) {
      case "created":
        return `${event.job} is queued as ${event.uuid}`;
      case "started": {
        const [name, number, node, url] = ["name", "number", "node_name", "url"].map((key) =>
          plain(String(event[key])),
        );
        return `${name}#${number} runs on ${node}: ${url}`;
      }
      case "stopping":
        return `stopping the build; ${event.again}`;
      case "notice":
        return `[${plain(event.text)}]`;
      case "ended": {
        const took = duration(performance.now() - this.#begun);
        return `${event.result ?? "no result: infrastructure, run it again"} after ${took}`;
      }
      case "progress":
        return undefined;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** As plain lines, with a line of progress kept below them. */
class Terminal implements Renderer {
  readonly #out: Out;
  readonly #lines: PlainLines;
  readonly #begun = performance.now();
  readonly #timer: NodeJS.Timeout;
  /** What the output has left of an unfinished line, which the progress must not be drawn into. */
  #midLine = false;
  #percent = 0;
  #drawn = false;
  #title = "queued";

  constructor(out: Out) {
    this.#out = out;
    this.#lines = new PlainLines(out);
    this.#timer = setInterval(() => this.#redraw(), 1000);
    this.#timer.unref();
  }

  show(event: ShownEvent): void {
    this.#erase();
    if (event.event === "progress") this.#percent = event.percent;
    if (event.event === "started") this.#title = `${plain(String(event.name))}#${event.number}`;
    if (event.event === "output") this.#midLine = !event.text.endsWith("\n");
    else if (event.event !== "progress") this.#midLine = false;
    this.#lines.show(event);
    if (event.event === "ended") clearInterval(this.#timer);
    else this.#redraw();
  }

  #erase(): void {
    if (this.#drawn) this.#out.write("\r\u001b[K");
    this.#drawn = false;
  }

  #redraw(): void {
    this.#erase();
    if (this.#midLine) return;
    const filled = Math.round(this.#percent / 5);
    const bar = "━".repeat(filled) + "╌".repeat(20 - filled);
    const line = `${this.#title} ${bar} ${this.#percent} % ${duration(performance.now() - this.#begun)}`;
    this.#out.write(`\u001b[2m${line.slice(0, Math.max(0, (this.#out.columns ?? 80) - 1))}\u001b[0m`);
    this.#drawn = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#erase();
  }
}
