/** `labgear status`: the agent, its nodes and what they are doing. */
import type { Command } from "commander";
import type { AgentStatus, ExecutorStatus } from "#/lib/status.ts";
import { printable } from "#/lib/text.ts";
import { controlTimeoutMs, findAgent, newCommand, withControl } from "./options.ts";
import { table } from "./print.ts";

export function command(): Command {
  return withControl(
    newCommand("status [OPTIONS]", "Shows the agent on this box, its nodes and what they are doing."),
  )
    .option("--json", "print it as JSON")
    .action(async (options: { json?: true; control?: string }) => {
      const status = await findAgent(options).json<AgentStatus>("GET", "/status", {
        timeoutMs: controlTimeoutMs,
      });
      process.stdout.write(options.json ? `${JSON.stringify(status)}\n` : statusText(status));
    });
}

export function statusText(status: AgentStatus): string {
  const servers = status.servers.map(({ server, status: line }) => [`  ${server}`, printable(line)]);
  const nodes = status.nodes.flatMap((node) => [
    [`  ${node.name}`, node.state, node.classes.join(" ")],
    ...node.reasons.map((reason) => ["", printable(reason)]),
    ...node.executors.map((executor) => [`    executor ${executor.index}`, executorText(executor)]),
    ...node.waiting.map(({ job, number }) => ["    waiting", `${job}#${number} waits for an executor`]),
  ]);
  return [
    `${status.name}: labgear ${status.version}, ${status.state} since ${status.since}, pid ${status.pid}\n`,
    `job servers\n${table(servers)}`,
    `nodes\n${table(nodes)}`,
  ].join("");
}

function executorText({ build }: ExecutorStatus): string {
  return build ? `${build.job}#${build.number} ${build.phase} ${build.progress} %` : "idle";
}
