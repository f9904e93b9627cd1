/** Options that several commands share. */
import { readFile } from "node:fs/promises";
import { Command, InvalidArgumentError } from "commander";
import { loadConfig } from "#/config/load.ts";
import { ControlClient, defaultControl } from "#/control/client.ts";
import { parseAddress, type ServerAddress } from "#/gearman/dial.ts";
import { serverAddresses } from "#/servers.ts";

/** A command whose errors are one line, and whose help knows the program's name. */
export function newCommand(usage: string, description: string): Command {
  const [name = ""] = usage.split(" ", 1);
  return new Command(name)
    .usage(usage.slice(name.length + 1))
    .description(description)
    .helpOption("-h, --help", "show this help")
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, `labgear ${name}: `)) })
    .configureHelp({ commandUsage: () => `labgear ${usage}` })
    .showSuggestionAfterError()
    .exitOverride();
}

export interface ServerOptions {
  readonly server?: ServerAddress;
  readonly config?: string;
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

/** Adds the options by which a command finds its job servers. */
export function withServers(command: Command): Command {
  return command
    .option(
      "--server <host[:port]>",
      "the job server (default: LABGEAR_SERVER, or the configured ones)",
      address,
    )
    .option("--config <file>", "the configuration that names the servers")
    .option("--tls-ca <file>", "with --server: use TLS, and check the server against this certificate")
    .option("--tls-cert <file>", "with --tls-ca: the certificate to show to the server")
    .option("--tls-key <file>", "with --tls-cert: its key");
}

/**
 * The job servers that a command's options, the environment, or the configuration name.
 * @throws ConfigError, or the file system's error for a TLS file
 */
export async function findServers(options: ServerOptions): Promise<ServerAddress[]> {
  const { server = process.env.LABGEAR_SERVER ? address(process.env.LABGEAR_SERVER) : undefined } =
    options;
  if (!server) {
    return serverAddresses(
      await loadConfig({ optional: true, ...(options.config ? { file: options.config } : {}) }),
    );
  }
  if (!options.tlsCa) return [server];
  const read = async (file: string | undefined) => (file ? await readFile(file) : undefined);
  const [ca, cert, key] = await Promise.all([options.tlsCa, options.tlsCert, options.tlsKey].map(read));
  return [{ ...server, tls: { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) } }];
}

function address(text: string): ServerAddress {
  try {
    return parseAddress(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

/** Adds the option by which a command finds the agent on this box. */
export function withControl(command: Command): Command {
  return command.option(
    "--control <socket>",
    `the agent's control socket (default: LABGEAR_CONTROL, or ${defaultControl})`,
  );
}

/** The agent that a command's options name. */
export function findAgent(options: { control?: string }): ControlClient {
  return new ControlClient(options.control ?? process.env.LABGEAR_CONTROL ?? defaultControl);
}

/** `JOB` or `JOB#NUMBER`. */
export function buildName(text: string): { job: string; number?: number } {
  const [, job, number] = /^([^#\s]+)(?:#([1-9][0-9]{0,14}))?$/.exec(text) ?? [];
  if (!job) throw new InvalidArgumentError("expected JOB or JOB#NUMBER.");
  return number === undefined ? { job } : { job, number: Number(number) };
}
