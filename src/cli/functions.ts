/** `labgear functions`: what is registered, queued and running on the job servers. */
import type { Command } from "commander";
import type { GateClient } from "#/client/gate.ts";
import { formatAddress } from "#/lib/address.ts";
import { printable } from "#/lib/text.ts";
import { buildFunction } from "#/zuul/functions.ts";
import { report } from "./exit.ts";
import { asRefused, findGate, type GateOptions, withGate } from "./gate-options.ts";
import { newCommand } from "./options.ts";
import { askServers, type ServerAnswer, sharedManagers } from "./registered.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";
import { type Column, table } from "./table.ts";

export function command(): Command {
  return withGate(
    withServers(
      newCommand("functions [OPTIONS]", "Shows what the job servers have registered, queued and running."),
    ),
  )
    .option("--json", "print one JSON array")
    .addHelpText("after", "\nExit code: 0; 7 if a job server does not answer, even if others do.")
    .action(async (options: ServerOptions & GateOptions & { json?: true }) => {
      const gate = await findGate(options);
      const answers = gate ? [] : await askServers(await findServers(options));
      for (const answer of answers) if ("error" in answer) process.exitCode = report(answer.error);
      for (const warning of answers.flatMap(sharedNames)) process.stderr.write(`labgear: ${warning}\n`);
      const rows = gate ? await rowsBehind(gate) : answers.flatMap(rowsOf);
      if (options.json) return void process.stdout.write(`${JSON.stringify(rows)}\n`);
      if (!gate && answers.every((answer) => "error" in answer)) return;
      const cells = rows.map((row) => [
        row.function,
        ...[row.queued, row.running, row.workers].map(String),
        row.server,
      ]);
      process.stdout.write(table(columns, cells));
    });
}

const columns: readonly Column[] = [
  ...["FUNCTION", "QUEUED", "RUNNING", "WORKERS"],
  { title: "SERVER", fit: "drop" },
];

/** What the caller may use. */
async function rowsBehind(gate: GateClient): Promise<ReturnType<typeof rowsOf>> {
  const queue = await gate.queue().catch(asRefused);
  return queue.map(({ job, node, queued, running, workers }) => ({
    ...{ server: gate.url, function: buildFunction(job, node), queued, running, workers },
  }));
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
