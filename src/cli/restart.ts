/** `labgear restart`: starts the agent again as soon as no build runs. */
import type { Command } from "commander";
import { orderCommand } from "./order.ts";

export function command(): Command {
  return orderCommand({
    usage: "restart --when-idle [OPTIONS]",
    description:
      "Starts the agent again as soon as no build runs, e.g. after an upgrade. Until then it takes no new builds.",
    path: "/restart",
  }).requiredOption("--when-idle", "required, because a restart under a running build would lose it");
}
