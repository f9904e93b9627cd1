/** `labgear functions`: what is registered, queued and running on the job servers. */
import type { Command } from "commander";
import { findServers, newCommand, type ServerOptions, withServers } from "./options.ts";
import { plain, table } from "./print.ts";
import { registeredFunctions } from "./registered.ts";

export function command(): Command {
  return withServers(newCommand("functions [OPTIONS]", "Shows what is registered, queued and running."))
    .option("--json", "one JSON array")
    .action(async (options: ServerOptions & { json?: true }) => {
      const rows = [];
      for (const server of await findServers(options)) {
        const functions = await registeredFunctions(server);
        const name = `${server.host}:${server.port}`;
        for (const { function: f, total, running, workers } of functions) {
          rows.push({ server: name, function: f, queued: total - running, running, workers });
        }
      }
      rows.sort((a, b) => a.server.localeCompare(b.server) || a.function.localeCompare(b.function));
      if (options.json) return void process.stdout.write(`${JSON.stringify(rows)}\n`);
      const cells = rows.map((row) => [
        plain(row.function),
        ...[row.queued, row.running, row.workers].map(String),
        row.server,
      ]);
      process.stdout.write(table([["FUNCTION", "QUEUED", "RUNNING", "WORKERS", "SERVER"], ...cells]));
    });
}
