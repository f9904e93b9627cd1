/** `labgear check`: validates the configuration. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { execa } from "execa";
import { ConfigError } from "#/config/errors.ts";
import { defaultConfigFile, loadConfig } from "#/config/load.ts";
import type { Config, JobConfig } from "#/config/model.ts";
import { mixedTrust } from "#/config/sections/trust.ts";
import { ownProgram } from "#/host/executable.ts";
import { printable, shown } from "#/lib/text.ts";
import { exitCodes } from "./exit.ts";
import { newCommand } from "./options.ts";

export function command(): Command {
  return newCommand(
    "check [OPTIONS]",
    "Validates the configuration: says file, line, key and what was expected.",
  )
    .option("--config <file>", `the configuration (default: ${defaultConfigFile})`)
    .option("--json", "print one JSON object: files, jobs, mistakes with file, line and key, warnings")
    .addHelpText("after", "\nAs root, it reads the default configuration as the agent's user would.")
    .action(async ({ config: file, json }: { config?: string; json?: true }) => {
      const [program, ...args] = (file === undefined && checkAsAgent()) || [];
      if (program) {
        const { exitCode } = await execa(program, json ? [...args, "--json"] : args, {
          stdio: "inherit",
          reject: false,
        });
        process.exitCode = exitCode ?? exitCodes.failure;
        return;
      }
      if (json) return await printJson(file);
      const config = await loadConfig(file ? { file } : {});
      for (const warning of configWarnings(config)) process.stderr.write(`labgear: warning: ${warning}\n`);
      process.stdout.write(`${describeConfig(config)}, no mistakes\n`);
    });
}

/** For editors and scripts: what is wrong isn't an error of this command, but its exit code says so. */
async function printJson(file: string | undefined): Promise<void> {
  const print = (found: object) => process.stdout.write(`${JSON.stringify(found)}\n`);
  try {
    const config = await loadConfig(file ? { file } : {});
    const { files, jobs } = config;
    print({ files, jobs: [...jobs.keys()], mistakes: [], warnings: configWarnings(config) });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const mistakes = error.problems.length > 0 ? error.problems : [{ message: error.message }];
    print({ files: [], jobs: [], mistakes, warnings: [] });
    process.exitCode = exitCodes.usage;
  }
}

/** Which files, and how many jobs. */
export function describeConfig({ files, jobs }: Config): string {
  return `${files.join(", ")}: ${jobs.size} ${jobs.size === 1 ? "job" : "jobs"}`;
}

/** What is no mistake, and yet more than people may want. */
function configWarnings({ jobs, devices }: Config): string[] {
  const boards = new Set([...devices].flatMap(([name, { classes }]) => [name, ...classes]));
  return [...jobs.values()].flatMap((job) => {
    const { name, work, trust, checkout } = job;
    const mixed = mixedTrust({ trust, checkout, ...(work.kind === "run" && { script: work.script }) });
    const warnings = [mixed, changeWithBoard(job, boards)].filter((warning) => warning !== undefined);
    return warnings.map((warning) => `jobs.${printable(name)} ${warning}`);
  });
}

function changeWithBoard({ checkout, trust, nodes = [] }: JobConfig, boards: ReadonlySet<string>) {
  const board = nodes.find((node) => boards.has(node));
  if (!checkout || trust !== "changes" || board === undefined) return undefined;
  const what = `checks out changes and has the board ${shown(board)}`;
  return `${what}: a change can run anything on this box and on the board; inputs: are safer`;
}

const agentUser = "labgear";

/**
 * The command line that checks the default configuration as the agent's user.
 * @returns undefined: we aren't root, or there is no such user
 */
export function checkAsAgent(): [string, ...string[]] | undefined {
  if (process.getuid?.() !== 0) return undefined;
  if (!/^labgear:/m.test(readFileSync("/etc/passwd", "utf8"))) return undefined;
  const become = ["--reuid", agentUser, "--regid", agentUser, "--init-groups"];
  return ["setpriv", ...become, ...ownProgram(), "check"];
}
