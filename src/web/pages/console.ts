/** A console on a page: its end as text, which the browser script replaces by a live view. */
import { consoleSize, openConsole } from "#/builds/console/follow.ts";
import type { FoundBuild } from "#/builds/store.ts";
import type { DeviceFeed } from "../agent-view.ts";
import { visibleText } from "../browser/terminal.ts";
import { type Html, html } from "./html.ts";

/** How much of the end of a console a page contains. */
const maxTailBytes = 64 * 1024;

export interface ConsoleSection {
  readonly kind: "build" | "device";
  /** The URL of its events. */
  readonly events: string;
  /** The URL that `/lines` and `/search` follow; absent if there are none. */
  readonly api?: string;
  /** The URL of the whole console as plain text. */
  readonly plain?: string;
  readonly live: boolean;
  /** The offset of the oldest byte that a device still holds. */
  readonly start?: number;
  /** The offset where the output of the running build starts on a device. */
  readonly buildFrom?: number | undefined;
  /** Earlier output, shown dimmed. */
  readonly before?: string;
  readonly tail: string;
  /** The line to open at, from 0; undefined: the end. */
  readonly error?: number | undefined;
  /** The address of a file's line in the source, with {path} and {line}. */
  readonly source?: string | undefined;
  /** When the build was assigned, in Unix milliseconds. */
  readonly started?: number;
}

export function consoleSection(section: ConsoleSection, note: Html): Html {
  const { kind, events, api, plain, live, buildFrom, start, before, tail, error, source, started } = section;
  return html`<section class="console" aria-labelledby="console" id="console-section" data-kind="${kind}" data-events="${events}" data-api="${api}" data-running="${live && "yes"}" data-build-from="${buildFrom}" data-start="${start}" data-error="${error}" data-source="${source}" data-started="${started}">
<header class="heading"><h2 id="console">Console</h2> <span>${note}${plain !== undefined && html` <a href="${plain}">Raw</a> <a href="${plain}?plain">Plain text</a> <a href="${plain}?plain&amp;download" download>Download</a>`}</span></header>
<pre class="tail" tabindex="0" role="region" aria-label="End of the console">${before !== undefined && html`<span class="before">${plainText(before)}</span>`}${plainText(tail)}</pre>
</section>`;
}

/** What a terminal would show, without colours. */
function plainText(text: string): string {
  return text.split("\n").map(visibleText).join("\n");
}

/** The end of a build's console, its offset, and the size of the whole. */
export async function buildTail({
  folder,
  running,
}: FoundBuild): Promise<{ bytes: number; tail: string; from: number }> {
  const file = await openConsole(folder);
  if (!file) return { bytes: 0, tail: "", from: 0 };
  await using _ = file;
  const bytes = await consoleSize(file, running?.console);
  const from = Math.max(0, bytes - maxTailBytes);
  const buffer = Buffer.alloc(bytes - from);
  const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
  return { bytes, tail: buffer.toString("utf8", 0, bytesRead), from };
}

/** The end of a device's console, split where the running build started; all of it is `before` if none is running. */
export async function deviceTail(feed: DeviceFeed): Promise<{ before: string; tail: string }> {
  const { start, end, buildFrom = end } = feed;
  const before: Uint8Array[] = [];
  const since: Uint8Array[] = [];
  const done = new AbortController();
  if (end > start) {
    for await (const { offset, bytes } of feed.follow(Math.max(start, end - maxTailBytes), done.signal)) {
      const at = Math.max(0, Math.min(bytes.length, buildFrom - offset));
      before.push(bytes.subarray(0, at));
      since.push(bytes.subarray(at));
      if (offset + bytes.length >= end) break;
    }
  }
  done.abort();
  const text = (parts: readonly Uint8Array[]) => Buffer.concat(parts).toString("utf8");
  return { before: text(before), tail: text(since) };
}
