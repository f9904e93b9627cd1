/** `labgear reload`: reads the configuration again. */
import type { Command } from "commander";
import { orderCommand } from "./orders.ts";

export function command(): Command {
  return orderCommand({
    usage: "reload [OPTIONS]",
    description:
      "Reads the configuration again. Running builds keep what they started with; a broken file changes nothing.",
    path: "/reload",
  });
}
