/** `labgear resume`: a node takes builds again. */
import type { Command } from "commander";
import { orderCommand } from "./orders.ts";

export function command(): Command {
  return orderCommand({
    usage: "resume [NODE] [OPTIONS]",
    description: "Takes builds again, after a pause or a drain.",
    path: "/resume",
  }).argument("[node]", "the node (default: all of the box)");
}
