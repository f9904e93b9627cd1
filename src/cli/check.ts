/** `labgear check`: validates the configuration. */
import type { Command } from "commander";
import { defaultConfigFile, loadConfig } from "#/config/load.ts";
import { newCommand } from "./options.ts";
import { describeConfig } from "./print.ts";

export function command(): Command {
  return newCommand(
    "check [OPTIONS]",
    "Validates the configuration: says file, line, key and what was expected.",
  )
    .option("--config <file>", `the configuration (default: ${defaultConfigFile})`)
    .action(async ({ config: file }: { config?: string }) => {
      const config = await loadConfig(file ? { file } : {});
      process.stdout.write(`${describeConfig(config)}, no mistakes\n`);
    });
}
