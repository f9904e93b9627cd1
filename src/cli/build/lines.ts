/** A build in plain lines: its output on one stream, a line of our own for each event on the other. */
import { printable } from "#/lib/text.ts";
import { formatElapsed } from "#/lib/units.ts";
import type { TerminalFilter } from "../terminal.ts";
import type { CiLog } from "./ci-log.ts";
import type { BuildFacts, Outputs, Renderer, ShownEvent } from "./events.ts";

interface LineOptions {
  readonly quiet: boolean;
  /** Of the output; absent: it stays as it is. */
  readonly filter?: TerminalFilter;
  readonly ci?: CiLog;
}

type OwnEvent = Exclude<ShownEvent, { event: "output" }>;
type Ended = Extract<ShownEvent, { event: "ended" }>;
type Ending = Pick<Ended, "result" | "reason" | "cause">;

export class PlainLines implements Renderer {
  readonly #outputs: Outputs;
  readonly #options: LineOptions;
  readonly #begun = performance.now();
  #atLineStart = true;
  #inGroup = false;

  constructor(outputs: Outputs, options: LineOptions) {
    this.#outputs = outputs;
    this.#options = options;
  }

  /** Whether the place that both streams share stands at the start of a line. */
  get atLineStart(): boolean {
    return this.#atLineStart;
  }

  show(event: ShownEvent): void {
    if (event.event === "output") this.#write(event.text);
    else this.#tell(event);
  }

  #tell(event: OwnEvent): void {
    // A build that moves to another agent has a group for each.
    if (event.event === "ended" || event.event === "started") this.#closeGroup();
    const line = this.#isWanted(event) ? this.#line(event) : undefined;
    // Names, results and reasons come from outside, too.
    if (line !== undefined) this.#own(printable(line));
    if (event.event === "ended" && event.result !== "SUCCESS") this.#annotate(event);
    if (event.event === "started") this.#openGroup(event);
  }

  #write(text: string): void {
    const shown = this.#options.filter?.write(text) ?? text;
    if (shown === "") return;
    this.#outputs.output.write(shown);
    const { output, own } = this.#outputs;
    // A terminal and a file have no line in common.
    if (output.isTTY === own.isTTY) this.#atLineStart = shown.endsWith("\n");
  }

  #own(line: string): void {
    const text = this.#options.ci?.inert(line) ?? line;
    // In a log that has both streams, an unfinished line of the build isn't ours to go on with.
    this.#outputs.own.write(`${this.#atLineStart ? "" : "\n"}${text}\n`);
    this.#atLineStart = true;
  }

  #openGroup(facts: BuildFacts): void {
    this.#outputs.output.write(this.#options.ci?.open(placeOf(facts)) ?? "");
    this.#inGroup = true;
  }

  #closeGroup(): void {
    const text = this.#inGroup ? (this.#options.ci?.close() ?? "") : "";
    this.#inGroup = false;
    if (text === "") return;
    // A command of the CI system counts at the start of a line only.
    this.#outputs.output.write(`${this.#atLineStart ? "" : "\n"}${text}`);
    this.#atLineStart = true;
  }

  #annotate(event: Ended): void {
    const title = `${event.result ?? "no result"}${placeOf(event) && `: ${placeOf(event)}`}`;
    this.#outputs.output.write(
      this.#options.ci?.annotate(title, `${reasonOf(event)} ${event.url ?? ""}`) ?? "",
    );
  }

  #isWanted(event: OwnEvent): boolean {
    if (!this.#options.quiet) return true;
    return event.event === "notice" || (event.event === "ended" && event.result !== "SUCCESS");
  }

  #line(event: OwnEvent): string | undefined {
    switch (event.event) {
      case "created":
        return `${event.job} is queued as ${event.uuid}`;
      case "waiting": {
        const queue = event.queued === 1 ? "no other build waits there" : `${event.queued} builds wait there`;
        const place = event.place === undefined ? "" : `, number ${event.place} in line`;
        return `waiting (${queue}${place}): ${event.why}`;
      }
      case "started":
        return `${event.name}#${event.number} runs on ${event.node_name}: ${event.url}`;
      case "stopping":
        return `stopping the build; ${event.again}`;
      case "notice":
        return `[${event.text}]`;
      case "ended":
        return this.#ending(event);
      case "progress":
        return undefined;
    }
  }

  /** Result, reason, cause, node and URL: all that a person looks for at the end of a log. */
  #ending(event: Ended): string {
    const [reason, place] = [reasonOf(event), placeOf(event)];
    const took = formatElapsed(performance.now() - this.#begun);
    return `${event.result ?? "no result"} after ${took}${reason && `: ${reason}`}${place && `; ${place}: ${event.url}`}`;
  }

  [Symbol.dispose](): void {
    this.#closeGroup();
  }
}

/** The reason and the cause; empty for a build that passed. */
export function reasonOf({ result, reason, cause }: Ending): string {
  if (result === "SUCCESS") return "";
  const words = reason ?? (result === undefined ? "the infrastructure failed, not the build" : "");
  return cause === undefined ? words : `${words} (${cause})`.trimStart();
}

/** "JOB#NUMBER on NODE"; empty for a build that never began. */
export function placeOf({ name, number, node_name: node }: BuildFacts): string {
  return number === undefined ? "" : `${name}#${number} on ${node}`;
}
