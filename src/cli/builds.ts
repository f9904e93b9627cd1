/** `labgear builds`: running and finished builds, the newest first. */
import type { Command } from "commander";
import type { BuildSummary } from "#/builds/store.ts";
import { findAgent, newCommand, withControl } from "./options.ts";
import { duration, plain, table } from "./print.ts";

export function command(): Command {
  return withControl(
    newCommand("builds [JOB] [OPTIONS]", "Lists running and finished builds, the newest first."),
  )
    .argument("[job]", "only this job's")
    .option("-n, --limit <count>", "how many at most", "50")
    .option("--json", "one JSON array")
    .action(async (job: string | undefined, options: { json?: true; control?: string; limit: string }) => {
      const query = new URLSearchParams({ limit: options.limit, ...(job ? { job } : {}) });
      const builds = await findAgent(options).json<BuildSummary[]>("GET", `/builds?${query}`);
      if (options.json) return void process.stdout.write(`${JSON.stringify(builds)}\n`);
      const head = ["BUILD", "RESULT", "NODE", "ASSIGNED", "DURATION", "REASON"];
      process.stdout.write(table([head, ...builds.map(row)]));
    });
}

function row(build: BuildSummary): string[] {
  const took = (build.ended ? Date.parse(build.ended) : Date.now()) - Date.parse(build.assigned);
  return [
    `${build.job}#${build.number}`,
    build.ending ? (build.result ?? `(${build.ending.kind})`) : "running",
    build.node,
    build.assigned,
    duration(took),
    plain(build.ending?.reason ?? ""),
  ];
}
