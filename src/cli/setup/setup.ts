/** `labgear setup`: from an installed package to a running agent. */
import { existsSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { execa } from "execa";
import { defaultConfigFile } from "#/config/load.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { ownProgram, sampleConfig } from "#/host/executable.ts";
import { CommandError } from "../exit.ts";
import { newCommand } from "../options.ts";
import { describeConfig } from "../print.ts";
import { setupFile, writeSetup } from "./file.ts";
import { ask, type Given, withDefaults } from "./questions.ts";

interface SetupOptions extends Given {
  readonly config: string;
  readonly force?: true;
  readonly start: boolean;
  readonly yes?: true;
}

const unit = "labgear.service";

export function command(): Command {
  return newCommand(
    "setup [OPTIONS]",
    "Asks a few questions about this box, writes the configuration and starts the agent's unit.",
  )
    .option("--name <name>", "the name of this box (default: the host's)")
    .option("--server <host[:port]>", "a job server; can be repeated (default: an embedded one)", list)
    .option("--classes <names>", "the classes that clients may ask for, separated by commas", list)
    .option("--executors <number>", "how many builds the host may run at once", count)
    .option(
      "--boards <ports>",
      "ports that boards are connected to, separated by commas; or all, or none",
      list,
    )
    .option("--config <file>", "the configuration", defaultConfigFile)
    .option("--force", "replace the file that an earlier setup wrote")
    .option("--no-start", "only write the file")
    .option("--yes", "ask nothing: use the default for what no option sets")
    .addHelpText(
      "after",
      "\nIt writes conf.d/setup.yaml beside the configuration file, which it leaves as it is.",
    )
    .action(run);
}

async function run(options: SetupOptions): Promise<void> {
  using discovery = new Discovery();
  const found = await discovery.list();
  const isAsked = !options.yes && process.stdin.isTTY;
  const answers = isAsked
    ? await ask(options, found, process.stdin, process.stdout)
    : withDefaults(options, found);
  const missing = (options.boards ?? []).find(
    (port) =>
      !["all", "none"].includes(port) &&
      !answers.boards.some(({ path, byId }) => path === port || byId === port),
  );
  if (missing !== undefined) {
    throw new CommandError("usage", `there is no serial port ${missing}: see \`labgear devices --scan\``);
  }
  const place = { config: options.config, sample: sampleConfig, force: options.force === true };
  const config = await writeSetup(answers, place);
  process.stdout.write(`${setupFile(options.config)} written\n${describeConfig(config)}\n`);
  if (config.jobs.size === 0) process.stdout.write(`next, add jobs under jobs: in ${options.config}\n`);
  if (options.start) await startUnit();
}

/** Starts the unit now and at boot; a running agent restarts when it is idle. */
async function startUnit(): Promise<void> {
  if (!existsSync("/run/systemd/system")) {
    process.stdout.write("systemd is not running here: start `labgear agent` yourself\n");
    return;
  }
  const { exitCode } = await execa("systemctl", ["is-active", "--quiet", unit], { reject: false });
  const order =
    exitCode === 0 ? [...ownProgram(), "restart", "--when-idle"] : ["systemctl", "enable", "--now", unit];
  const [program = "", ...args] = order;
  const { failed, stderr } = await execa(program, args, { reject: false });
  if (failed)
    throw new CommandError(
      "failure",
      `\`${order.join(" ")}\` failed: ${stderr.trim() || "see journalctl -u labgear"}`,
    );
  process.stdout.write(
    exitCode === 0 ? "the agent restarts with it as soon as no build is running\n" : `${unit} started\n`,
  );
}

function list(text: string, former: readonly string[] = []): string[] {
  return [...former, ...text.split(",").filter(Boolean)];
}

function count(text: string): number {
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("expected a whole number of 1 or more.");
}
