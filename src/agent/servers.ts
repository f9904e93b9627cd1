/** The configured job servers as addresses that can be dialled, with what their TLS files hold. */
import { readFile } from "node:fs/promises";
import type { Config, TlsConfig } from "#/config/model.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { gearmanPort } from "#/lib/address.ts";

/** Where a job server is looked for when none is configured; gearmand's own port. */
export const defaultServer: ServerAddress = { host: "127.0.0.1", port: gearmanPort };

/**
 * The job servers of a configuration, or the default one.
 * @throws the file system's error when a TLS file can't be read
 */
export async function serverAddresses(config: Config): Promise<ServerAddress[]> {
  if (config.servers.length === 0) return [defaultServer];
  return Promise.all(
    config.servers.map(async ({ host, port, tls }) =>
      tls ? { host, port, tls: await readTls(tls) } : { host, port },
    ),
  );
}

async function readTls(tls: TlsConfig): Promise<NonNullable<ServerAddress["tls"]>> {
  const entries = Object.entries(tls).map(
    async ([name, file]) => [name, await readFile(file as string)] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}
