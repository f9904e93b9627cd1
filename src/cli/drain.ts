/** `labgear drain`: no new builds, and wait for those that run. */
import type { Command } from "commander";
import { orderCommand } from "./orders.ts";

export function command(): Command {
  return orderCommand({
    usage: "drain [OPTIONS]",
    description:
      "Takes no new builds, and returns when those that run have ended. `labgear resume` takes it back.",
    path: "/drain",
    waits: true,
  });
}
