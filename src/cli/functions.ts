/** `labgear functions`: what is registered, queued and running on the job servers. */
import type { Command } from "commander";
import { formatAddress } from "#/lib/address.ts";
import { printable } from "#/lib/text.ts";
import { report } from "./exit.ts";
import { newCommand } from "./options.ts";
import { table } from "./print.ts";
import { askServers, type ServerAnswer, sharedManagers } from "./registered.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";

export function command(): Command {
  return withServers(
    newCommand("functions [OPTIONS]", "Shows what the job servers have registered, queued and running."),
  )
    .option("--json", "print one JSON array")
    .addHelpText("after", "\nExit code: 0; 7 if a job server does not answer, even if others do.")
    .action(async (options: ServerOptions & { json?: true }) => {
      const answers = await askServers(await findServers(options));
      for (const answer of answers) if ("error" in answer) process.exitCode = report(answer.error);
      for (const warning of answers.flatMap(sharedNames)) process.stderr.write(`labgear: ${warning}\n`);
      const rows = answers.flatMap(rowsOf);
      if (options.json) return void process.stdout.write(`${JSON.stringify(rows)}\n`);
      if (answers.every((answer) => "error" in answer)) return;
      const cells = rows.map((row) => [
        printable(row.function),
        ...[row.queued, row.running, row.workers].map(String),
        row.server,
      ]);
      process.stdout.write(table([["FUNCTION", "QUEUED", "RUNNING", "WORKERS", "SERVER"], ...cells]));
    });
}

function sharedNames(answer: ServerAnswer): string[] {
  if ("error" in answer) return [];
  const server = formatAddress(answer.server);
  return sharedManagers(answer.functions).map(
    (name) => `${server}: more than one agent is named ${printable(name)}; give each a name of its own`,
  );
}

/** Sorted by name; servers stay in their order. */
function rowsOf(answer: ServerAnswer) {
  if ("error" in answer) return [];
  const server = formatAddress(answer.server);
  return answer.functions
    .map(({ function: name, total, running, workers }) => ({
      ...{ server, function: name, queued: total - running, running, workers },
    }))
    .sort((a, b) => a.function.localeCompare(b.function));
}
