/** `labgear setup`: from an installed package to an agent that runs. */
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
    "Asks for what this box is, writes it down, and starts the agent's unit.",
  )
    .option("--name <name>", "the name of this box (default: the host's)")
    .option("--server <host[:port]>", "a job server; may be given again (default: one of its own)", list)
    .option("--classes <names>", "what clients may ask for, with commas between", list)
    .option("--executors <number>", "how many builds may run at once on the host", count)
    .option("--boards <ports>", "ports where boards are, with commas between; or all, or none", list)
    .option("--config <file>", "the configuration", defaultConfigFile)
    .option("--force", "replace what an earlier setup wrote")
    .option("--no-start", "only write")
    .option("--yes", "ask nothing: what no option tells is the default")
    .addHelpText(
      "after",
      "\nIt writes conf.d/setup.yaml beside the configuration, and leaves the configuration itself as it is.",
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
  process.stdout.write(`${setupFile(options.config)} is written\n${describeConfig(config)}\n`);
  if (config.jobs.size === 0) process.stdout.write(`add jobs under jobs: in ${options.config}\n`);
  if (options.start) await startUnit();
}

/** Starts the unit, now and with the box; an agent that runs takes up the changes when no build runs. */
async function startUnit(): Promise<void> {
  if (!existsSync("/run/systemd/system")) {
    process.stdout.write("systemd doesn't run here: start `labgear agent` yourself\n");
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
    exitCode === 0 ? "the agent takes it up as soon as no build runs\n" : `${unit} is started\n`,
  );
}

function list(text: string, former: readonly string[] = []): string[] {
  return [...former, ...text.split(",").filter(Boolean)];
}

function count(text: string): number {
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("expected a whole number from 1.");
}
