/** A console on a page: its end as text, which the browser's script replaces by a live view. */
import { showLine } from "../assets/browser/terminal.ts";
import { type Html, html } from "./html.ts";

export interface ConsolePlace {
  /** "build" or "device": what the script follows. */
  readonly kind: "build" | "device";
  /** The address of its events. */
  readonly events: string;
  /** The address of its lines and searches, without what they are; absent: none. */
  readonly api?: string;
  /** The address of all of it as plain text. */
  readonly plain?: string;
  /** Bytes at this moment. */
  readonly bytes: number;
  readonly live: boolean;
  readonly buildFrom?: number;
  /** The device's oldest byte. */
  readonly start?: number;
  /** What is shown without script, dimmed and not. */
  readonly before?: string;
  readonly tail: string;
}

export function consoleSection(place: ConsolePlace, note: Html | false): Html {
  const { kind, events, api, plain, bytes, live, buildFrom, start } = place;
  return html`<section class="console" aria-labelledby="console" id="console-section" data-kind="${kind}" data-events="${events}" data-api="${api}" data-bytes="${bytes}" data-running="${live && "yes"}" data-build-from="${buildFrom}" data-start="${start}">
<header class="heading"><h2 id="console">Console</h2> <span>${note}${plain !== undefined && html` <a href="${plain}">Plain text</a>`}</span></header>
<pre class="tail" tabindex="0" role="region" aria-label="The end of the console">${place.before !== undefined && html`<span class="before">${shown(place.before)}</span>`}${shown(place.tail)}</pre>
</section>`;
}

/** The text that a terminal would leave, without its colours. */
function shown(text: string): string {
  const lines = text.split("\n").map((line) => showLine(line).spans.map((span) => span.text));
  return lines.map((spans) => spans.join("")).join("\n");
}
