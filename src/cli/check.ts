/** `labgear check`: validates the configuration. */

import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { execa } from "execa";
import { defaultConfigFile, loadConfig } from "#/config/load.ts";
import { mixedTrust } from "#/config/sections/secrets.ts";
import { ownProgram } from "#/host/executable.ts";
import { printable } from "#/lib/text.ts";
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
      for (const { name, work, trust, checkout } of config.jobs.values()) {
        const warning = mixedTrust({ trust, checkout, ...(work.kind === "run" && { script: work.script }) });
        if (warning) process.stderr.write(`labgear: warning: jobs.${printable(name)} ${warning}\n`);
      }
      process.stdout.write(`${describeConfig(config)}, no mistakes\n`);
    });
}

const agentUser = "labgear";

/** The command line that checks the default configuration as the agent's user; undefined: we aren't root, or there is no such user. */
export function checkAsAgent(): [string, ...string[]] | undefined {
  if (process.getuid?.() !== 0) return undefined;
  if (!/^labgear:/m.test(readFileSync("/etc/passwd", "utf8"))) return undefined;
  const become = ["--reuid", agentUser, "--regid", agentUser, "--init-groups"];
  return ["setpriv", ...become, ...ownProgram(), "check"];
}
