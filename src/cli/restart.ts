/** `labgear restart`: starts the agent again as soon as no build runs. */
import type { Command } from "commander";
import { CommandError } from "./exit.ts";
import { orderCommand } from "./orders.ts";

export function command(): Command {
  return orderCommand({
    usage: "restart --when-idle [OPTIONS]",
    description:
      "Starts the agent again as soon as no build runs, e.g. after an upgrade. Until then it takes no new builds.",
    path: "/restart",
  })
    .option("--when-idle", "required, because a restart under a running build would lose it")
    .hook("preAction", (command) => {
      if (command.opts<{ whenIdle?: true }>().whenIdle) return;
      const reason = "a restart under a running build would lose it, so only --when-idle is offered";
      throw new CommandError("usage", `${reason}; see \`labgear restart --help\``);
    });
}
