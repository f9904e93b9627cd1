/** `labgear builds`: running and finished builds, newest first. */
import { type Command, InvalidArgumentError } from "commander";
import { changeTitle } from "#/builds/change.ts";
import { type BuildFilter, filterNames, filters } from "#/builds/filter.ts";
import { type BuildSummary, durationOf } from "#/builds/record.ts";
import type { BuildStatus } from "#/lib/status.ts";
import { formatElapsed } from "#/lib/units.ts";
import { controlTimeoutMs, findAgent, newCommand, withControl } from "./options.ts";
import { type Cell, type Column, stateCell, table, timeText } from "./table.ts";

/** The job is the argument. */
const filterOptions = filterNames.filter((name) => name !== "job");

type Options = BuildFilter & { readonly json?: true; readonly control?: string; readonly limit: number };

export function command(): Command {
  const command = withControl(
    newCommand("builds [JOB] [OPTIONS]", "Lists running and finished builds, newest first."),
  );
  for (const name of filterOptions)
    command.option(`--${name} <${name}>`, `only builds with ${filters[name]}`);
  return command
    .argument("[job]", "only builds of this job")
    .option("-n, --limit <count>", "how many at most", count, 50)
    .option("--json", "print one JSON array")
    .action(async (job: string | undefined, options: Options) => {
      const query = new URLSearchParams({ limit: `${options.limit}`, ...(job !== undefined && { job }) });
      for (const name of filterOptions) if (options[name] !== undefined) query.set(name, options[name]);
      const builds = await findAgent(options).json<ListedBuild[]>("GET", `/builds?${query}`, {
        timeoutMs: controlTimeoutMs,
      });
      if (options.json) return void process.stdout.write(`${JSON.stringify(builds)}\n`);
      process.stdout.write(table(columns, builds.map(row)));
    });
}

const columns: readonly Column[] = [
  ...["BUILD", "RESULT", "NODE", "ASSIGNED"],
  { title: "DURATION", fit: "drop" },
  { title: "CHANGE", fit: "drop" },
  { title: "REASON", fit: "cut" },
];

/** A build that hasn't ended has a phase. */
type ListedBuild = BuildSummary & { readonly phase?: BuildStatus["phase"] };

function row(build: ListedBuild): Cell[] {
  const took = durationOf(build) ?? Math.max(0, Date.now() - Date.parse(build.assigned));
  return [
    `${build.job}#${build.number}`,
    stateCell(
      build.ending
        ? (build.result ?? `(${build.ending.kind})`)
        : build.phase === "assigned"
          ? "waiting"
          : "running",
    ),
    build.node,
    timeText(build.assigned),
    formatElapsed(took),
    build.change ? changeTitle(build.change) : "",
    build.ending?.reason ?? "",
  ];
}

function count(text: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new InvalidArgumentError("expected a number of 1 or more.");
  return Number(text);
}
