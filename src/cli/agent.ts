/** `labgear agent`: the agent in the foreground, as its systemd unit runs it. */
import { type Command, Option } from "commander";
import { startAgent } from "#/agent/compose.ts";
import { defaultConfigFile, loadConfig } from "#/config/load.ts";
import { ControlClient, defaultControl } from "#/control/client.ts";
import { ownCommandLine } from "#/host/executable.ts";
import { loadSystemCalls, releaseMemory } from "#/host/syscalls.ts";
import { createLog, type Log, type LogLevel, logLevels } from "#/lib/log.ts";
import { newCommand } from "./options.ts";
import { extendStart, followSystem } from "./service.ts";

/** When the start and what follows from it, such as the first look at each board, are over, in milliseconds. */
const settled = 5000;

interface AgentCommandOptions {
  readonly config?: string;
  readonly stateDir: string;
  readonly control: string;
  readonly logLevel: LogLevel;
}

export function command(): Command {
  return newCommand("agent [OPTIONS]", "Runs the agent in the foreground until a signal stops it.")
    .option("--config <file>", `the configuration (default: ${defaultConfigFile})`)
    .option(
      "--state-dir <folder>",
      "builds, workspaces and what the agent has to remember",
      "/var/lib/labgear",
    )
    .option("--control <socket>", "the control socket to make", process.env.LABGEAR_CONTROL || defaultControl)
    .addOption(
      new Option("--log-level <level>", "the least serious lines to log").choices(logLevels).default("info"),
    )
    .addHelpText(
      "after",
      "\nSIGTERM, or Ctrl-C, lets running builds end first (for as long as stop-timeout says); a second one stops them." +
        "\nSIGHUP reads the configuration again. The log goes to standard error.",
    )
    .action(run);
}

async function run(options: AgentCommandOptions): Promise<void> {
  // As ps and systemctl show it; Node would be there otherwise.
  process.title = "labgear";
  const log: Log = await createLog(process.stderr, options.logLevel);
  const agent = await startAgent({
    load: () => loadConfig(options.config ? { file: options.config } : {}),
    stateDir: options.stateDir,
    control: options.control,
    log,
    onProgress: extendStart(),
  });
  const self = new ControlClient(options.control);
  const isHealthy = () =>
    self.json("GET", "/status", { timeoutMs: 10_000 }).then(
      () => true,
      // On the way down the socket goes before the agent does.
      () => agent.life === "stopping" || agent.life === "stopped",
    );
  followSystem(agent, log, isHealthy);
  const calls = loadSystemCalls();
  if (calls) setTimeout(() => releaseMemory(calls), settled).unref();
  if ((await agent.stopped) === "restart") {
    log.info({}, "labgear starts again");
    // Under a unit that says how, systemd does it: then a changed unit counts as well.
    const status = Number(process.env.LABGEAR_RESTART_STATUS);
    if (status > 0) process.exit(status);
    const [file, ...args] = ownCommandLine();
    process.execve?.(file, [file, ...args], process.env);
  }
}
