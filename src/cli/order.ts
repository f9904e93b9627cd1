/** Commands that give the agent on this box an order, and print the state that follows from it. */
import type { Command } from "commander";
import type { AgentStatus } from "#/status.ts";
import { findAgent, newCommand, withControl } from "./options.ts";
import { statusText } from "./status.ts";

interface Order {
  /** As in `labgear USAGE`. */
  readonly usage: string;
  readonly description: string;
  /** The control socket's path. */
  readonly path: string;
}

/** A command that sends one order. */
export function orderCommand(order: Order): Command {
  return withControl(newCommand(order.usage, order.description))
    .option("--json", "the state that follows, as JSON")
    .action(async (...given: unknown[]) => {
      const command = given.at(-1) as Command;
      const { json, control, reason } = command.opts<{ json?: true; control?: string; reason?: string }>();
      const [node] = command.args;
      const body = { ...(node && { node }), ...(reason && { reason }) };
      const status = await findAgent(control ? { control } : {}).json<AgentStatus>("POST", order.path, body);
      process.stdout.write(json ? `${JSON.stringify(status)}\n` : statusText(status));
    });
}
