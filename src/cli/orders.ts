/** Commands that give the agent on this box an order, and print the state that follows from it. */
import type { Command } from "commander";
import type { AgentStatus } from "#/lib/status.ts";
import { findAgent, newCommand, patience, withControl } from "./options.ts";
import { statusText } from "./status.ts";

interface Order {
  /** As in `labgear USAGE`. */
  readonly usage: string;
  readonly description: string;
  /** The control socket's path. */
  readonly path: string;
  /** Its answer takes as long as the builds that run. */
  readonly waits?: true;
}

interface OrderOptions {
  readonly json?: true;
  readonly control?: string;
  readonly reason?: string;
}

/** A command that sends one order. */
export function orderCommand({ usage, description, path, waits }: Order): Command {
  return withControl(newCommand(usage, description))
    .option("--json", "the state that follows, as JSON")
    .action(async (...given: unknown[]) => {
      const command = given.at(-1) as Command;
      const { json, control, reason } = command.opts<OrderOptions>();
      const [node] = command.args;
      const body = { ...(node !== undefined && { node }), ...(reason !== undefined && { reason }) };
      const asking = { body, ...(!waits && { patience }) };
      const status = await findAgent({ control }).json<AgentStatus>("POST", path, asking);
      process.stdout.write(json ? `${JSON.stringify(status)}\n` : statusText(status));
    });
}
