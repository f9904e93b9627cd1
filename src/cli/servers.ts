/** The options that say which job servers a command talks to. */
import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError } from "commander";
import { serverAddresses } from "#/agent/servers.ts";
import { loadConfig } from "#/config/load.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { gearmanPort, parseAddress, serverForm } from "#/lib/address.ts";
import { shown } from "#/lib/text.ts";
import { CommandError } from "./exit.ts";

export interface ServerOptions {
  readonly server?: ServerAddress;
  readonly config?: string;
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

export function withServers(command: Command): Command {
  return command
    .option(
      "--server <host[:port]>",
      "the job server (default: LABGEAR_SERVER, or the configured ones)",
      address,
    )
    .option("--config <file>", "the configuration that names the servers")
    .option("--tls-ca <file>", "with --server: use TLS and check the server against this certificate")
    .option("--tls-cert <file>", "with --tls-ca: the certificate to present to the server")
    .option("--tls-key <file>", "with --tls-cert: its key");
}

/**
 * The job servers that a command's options, the environment, or the configuration name.
 * @throws CommandError usage, ConfigError
 */
export async function findServers(options: ServerOptions): Promise<ServerAddress[]> {
  const { tlsCa, tlsCert, tlsKey } = options;
  // A configuration named on the command line takes precedence over the environment.
  const server = options.server ?? (options.config === undefined ? fromEnvironment() : undefined);
  if ((tlsCert || tlsKey) && !tlsCa)
    throw new CommandError("usage", "--tls-cert and --tls-key need --tls-ca as well");
  if (tlsCa && !server) {
    throw new CommandError(
      "usage",
      "--tls-ca needs --server: the configured servers have TLS settings of their own",
    );
  }
  try {
    if (!server) {
      const file = options.config === undefined ? { optional: true } : { file: options.config };
      return await serverAddresses(await loadConfig(file));
    }
    if (!tlsCa) return [server];
    const read = async (file: string | undefined) => (file ? await readFile(file) : undefined);
    const [ca, cert, key] = await Promise.all([tlsCa, tlsCert, tlsKey].map(read));
    return [{ ...server, tls: { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) } }];
  } catch (cause) {
    const { syscall, path, message } = cause as NodeJS.ErrnoException;
    if (!syscall) throw cause;
    throw new CommandError("usage", `the TLS file ${path} can't be read: ${message}`, { cause });
  }
}

function fromEnvironment(): ServerAddress | undefined {
  const text = process.env.LABGEAR_SERVER;
  if (!text) return undefined;
  const server = parseServer(text);
  if (server) return server;
  throw new CommandError("usage", `LABGEAR_SERVER: expected ${serverForm}, found ${shown(text)}`);
}

function address(text: string): ServerAddress {
  const server = parseServer(text);
  if (server) return server;
  throw new InvalidArgumentError(`expected ${serverForm}`);
}

function parseServer(text: string): ServerAddress | undefined {
  const found = parseAddress(text, gearmanPort);
  return found && found.port > 0 ? found : undefined;
}
