/** A build in Markdown, for the summary page of a CI system. */
import { appendFile } from "node:fs/promises";
import { printable } from "#/lib/text.ts";
import { formatElapsed } from "#/lib/units.ts";
import { CommandError } from "../exit.ts";
import type { BuildFacts } from "./events.ts";
import type { Ending } from "./follow.ts";
import { placeOf, reasonOf } from "./lines.ts";

export interface Summarized {
  readonly job: string;
  readonly attempts: readonly Ending[];
  readonly tookMs: number;
}

/** @throws CommandError failure */
export async function appendSummary(file: string, build: Summarized): Promise<void> {
  try {
    await appendFile(file, summaryOf(build));
  } catch (cause) {
    throw new CommandError("failure", `the summary can't be written: ${(cause as Error).message}`, { cause });
  }
}

function summaryOf({ job, attempts, tookMs }: Summarized): string {
  const last = attempts.at(-1);
  if (!last) return "";
  const title = placeOf(last) || job;
  const rows: [string, string][] = [
    ["Result", resultOf(last)],
    ...(reasonOf(last) === "" ? [] : [["Reason", plain(reasonOf(last))] satisfies [string, string]]),
    ["Took", formatElapsed(tookMs)],
    ...linkOf(last).map((link): [string, string] => ["Page", link]),
  ];
  const before = attempts
    .slice(0, -1)
    .map(
      (ending) =>
        `- ${plain(placeOf(ending) || job)}: ${resultOf(ending)}${plain(reasonOf(ending) && `, ${reasonOf(ending)}`)}\n`,
    );
  return [
    `### ${last.result === "SUCCESS" ? "✅" : "❌"} ${plain(title)}\n\n`,
    "| | |\n|---|---|\n",
    ...rows.map(([name, value]) => `| ${name} | ${value} |\n`),
    ...(before.length > 0 ? ["\nEarlier attempts:\n\n", ...before] : []),
    "\n",
  ].join("");
}

const resultOf = ({ result }: Ending): string => (result === undefined ? "no result" : plain(result));

function linkOf({ url }: BuildFacts): string[] {
  // Angle brackets end a link, and a pipe a cell.
  return typeof url === "string" && /^https?:\/\/[^\s<>|]+$/.test(url) ? [`<${url}>`] : [];
}

const maxLength = 1000;

/** Text from a build: no mark-up, no link, no mention, no line of its own. */
function plain(text: string): string {
  return printable(text.slice(0, maxLength))
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(/[\\`*_{}[\]()#+!|~>@:-]/g, (char) => `&#${char.charCodeAt(0)};`);
}
