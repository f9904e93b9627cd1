/** `labgear log`: the console of a build, finished or running. */
import { pipeline } from "node:stream/promises";
import type { Command } from "commander";
import { buildName, findAgent, newCommand, withControl } from "./options.ts";

export function command(): Command {
  return withControl(
    newCommand("log JOB[#NUMBER]|UUID [OPTIONS]", "Prints a build's console, byte for byte."),
  )
    .argument("<build>", "JOB for its newest build, JOB#NUMBER, or the build's uuid", buildName)
    .option("-f, --follow", "go on as the console grows, until the build has ended")
    .action(async (build: string, options: { follow?: true; control?: string }) => {
      const query = new URLSearchParams({ build, ...(options.follow && { follow: "1" }) });
      const bytes = findAgent(options).bytes(`/console?${query}`);
      // Standard output isn't ours to end, and a reader such as `head` may leave early.
      await pipeline(bytes, process.stdout, { end: false }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "EPIPE") throw error;
      });
    });
}
