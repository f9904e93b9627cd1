/** Why a build failed, as its page says at the top: its tests, else the lines of its console that report the error. */
import { hasFailed } from "#/builds/before.ts";
import { errorRank, isAgentsLine } from "#/builds/console/errors.ts";
import type { LineIndexes } from "#/builds/console/line-index.ts";
import { consoleOf, isErrorLine, type Line, linesOf, search } from "#/builds/console/lines.ts";
import type { TestReport } from "#/builds/junit.ts";
import type { EndingKind } from "#/builds/record.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { linksIn } from "../browser/links.ts";
import { visibleText } from "../browser/terminal.ts";
import { type Html, html } from "./html.ts";
import { count } from "./parts.ts";

/** The part of a console that an excerpt is taken from. */
export interface Excerpt {
  /** The line that reports the error, from 0; undefined: none does, and the lines are the console's last ones. */
  readonly error: number | undefined;
  readonly lines: readonly Line[];
}

const unexplained: ReadonlySet<EndingKind | undefined> = new Set(["passed", "stopped", undefined]);
/** How much of a console one page view searches. */
const maxBytes = 16 * 1024 * 1024;
const linesBefore = 1;
const excerptLines = 6;
const lastLines = 3;

/** @returns undefined if the build hasn't failed, or has written nothing */
export async function excerptOf(build: FoundBuild, indexes: LineIndexes): Promise<Excerpt | undefined> {
  if (build.running || unexplained.has(build.summary.ending?.kind)) return undefined;
  const console = consoleOf(build);
  const index = indexes.of(build.folder);
  const { hits } = await search(console, index, isErrorLine, { from: 0, maxBytes });
  // What follows a certain error is its consequence. Words that are only likely stand in good output, too, and count for
  // more the nearer they are to the end: a script ends at the command that fails.
  const error = (hits.find(({ text }) => errorRank(text) === "certain") ?? hits.at(-1))?.n;
  const from = error === undefined ? -lastLines : Math.max(0, error - linesBefore);
  const found = await linesOf(console, index, from, error === undefined ? lastLines : excerptLines);
  const jobs = found.lines.filter(({ text }) => !isAgentsLine(text));
  // Where nothing else has been written, the agent says how far it got; the page has the reason above already.
  const { reason } = build.summary.ending ?? {};
  const agents = found.lines.filter(({ text }) => reason === undefined || !text.includes(reason));
  const lines = jobs.length > 0 ? jobs : agents;
  return lines.length === 0 ? undefined : { error, lines };
}

/**
 * @param excerpt is shown if no test has failed
 * @param source the address of a file's line in the source, if there is one
 */
export function whySection(
  tests: TestReport | undefined,
  excerpt: Excerpt | undefined,
  source: string | undefined,
): Html | false {
  const first = tests?.cases.find(hasFailed);
  if (tests && first) {
    const { failures, errors, tests: all } = tests.totals;
    const message = (first.message ?? first.details ?? "").trim().split("\n")[0];
    return html`<section id="why-section" class="why" aria-labelledby="why"><h2 id="why">Why</h2>
<p><strong>${count(failures + errors)} of ${count(all)} tests failed</strong>, first <a href="#tests"><bdi>${first.name}</bdi></a>${message && html`: <span class="message"><bdi>${message}</bdi></span>`}</p></section>`;
  }
  if (!excerpt) return false;
  const { error, lines } = excerpt;
  const title = error === undefined ? "The last lines of the console" : "The first error in the console";
  return html`<section id="why-section" class="why" aria-labelledby="why"><h2 id="why">${title}</h2>
<ol class="excerpt">${lines.map(
    ({ n, text }) =>
      html`<li${n === error && html` class="error"`}><a href="#L${n + 1}" aria-label="Line ${n + 1}">${n + 1}</a><code>${withLinks(visible(text), source)}</code></li>`,
  )}</ol></section>`;
}

function withLinks(text: string, source: string | undefined): Html {
  let at = 0;
  const parts = linksIn(text, source).map(({ from, to, href }) => {
    const before = text.slice(at, from);
    at = to;
    return html`${before}<a href="${href}" rel="noreferrer">${text.slice(from, to)}</a>`;
  });
  return html`${parts}${text.slice(at)}`;
}

const maxVisibleLength = 300;

/** What a terminal would show of a line. */
function visible(text: string): string {
  const shown = visibleText(text);
  return shown.length > maxVisibleLength ? `${shown.slice(0, maxVisibleLength)}…` : shown;
}
