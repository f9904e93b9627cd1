/** `labgear pause`: a node takes no new builds until it is resumed. */
import type { Command } from "commander";
import { orderCommand } from "./orders.ts";

export function command(): Command {
  return orderCommand({
    usage: "pause [NODE] [OPTIONS]",
    description:
      "Takes no new builds until `labgear resume`, also after a restart. Builds that run go on; queued ones wait.",
    path: "/pause",
  })
    .argument("[node]", "the node (default: all of the box)")
    .option("--reason <text>", "shown wherever the node is");
}
