/** `labgear check`: validates the configuration. */
import type { Command } from "commander";
import { execa } from "execa";
import { defaultConfigFile, loadConfig } from "#/config/load.ts";
import { checkAsAgent } from "./agent-user.ts";
import { exitCodes } from "./exit.ts";
import { newCommand } from "./options.ts";
import { describeConfig } from "./print.ts";

export function command(): Command {
  return newCommand(
    "check [OPTIONS]",
    "Validates the configuration: says file, line, key and what was expected.",
  )
    .option("--config <file>", `the configuration (default: ${defaultConfigFile})`)
    .addHelpText("after", "\nAs root, it reads the default configuration as the agent's user would.")
    .action(async ({ config: file }: { config?: string }) => {
      const [program, ...args] = (file === undefined && checkAsAgent()) || [];
      if (program) {
        const { exitCode } = await execa(program, args, { stdio: "inherit", reject: false });
        process.exitCode = exitCode ?? exitCodes.failure;
        return;
      }
      const config = await loadConfig(file ? { file } : {});
      process.stdout.write(`${describeConfig(config)}, no mistakes\n`);
    });
}
