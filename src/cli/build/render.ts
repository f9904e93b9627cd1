/** Shows a followed build: as JSON lines, as plain lines in a pipe, or with a progress line on a terminal. */
import { TerminalFilter } from "../terminal.ts";
import { chooseCiLog } from "./ci-log.ts";
import type { Out, Outputs, Renderer, ShownEvent } from "./events.ts";
import { PlainLines } from "./lines.ts";
import { TerminalLines } from "./progress.ts";

export interface RenderOptions {
  readonly json?: boolean;
  /** No lines of our own but warnings and an ending other than SUCCESS. */
  readonly quiet?: boolean;
  /** Pass the build's control sequences on, even to a terminal. */
  readonly raw?: boolean;
}

export function chooseRenderer(outputs: Outputs, options: RenderOptions = {}): Renderer {
  const { json = false, raw = false, quiet = false } = options;
  if (json) return new JsonLines(outputs.output);
  const filter = outputs.output.isTTY && !raw ? new TerminalFilter() : undefined;
  const ci = chooseCiLog(process.env);
  const lines = new PlainLines(outputs, { quiet, ...(filter && { filter }), ...(ci && { ci }) });
  const hasProgress = outputs.own.isTTY && !quiet && !ci && process.env.TERM !== "dumb";
  return hasProgress ? new TerminalLines(outputs.own, lines) : lines;
}

class JsonLines implements Renderer {
  readonly #out: Out;

  constructor(out: Out) {
    this.#out = out;
  }

  show(event: ShownEvent): void {
    const line = JSON.stringify(event)
      // A terminal acts on C1 controls, too, which JSON leaves as they are.
      .replaceAll(/\p{Cc}/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`)
      // GitHub's runner takes ##[command] anywhere in a line for a command.
      .replaceAll("##[", "#\\u0023[");
    this.#out.write(`${line}\n`);
  }

  [Symbol.dispose](): void {}
}
