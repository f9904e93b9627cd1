/** The embedded job server of a box without configured ones. */
import { JobServer } from "#/gearman/server/server.ts";
import type { Log } from "#/lib/log.ts";
import { version } from "#/lib/version.ts";
import { defaultServer } from "./servers.ts";

/**
 * Starts it where job servers are looked for.
 * @returns nothing where another one listens there already, which then is used
 * @throws the system's error
 */
export async function startEmbedded(log: Log): Promise<AsyncDisposable | undefined> {
  const { host, port } = defaultServer;
  const server = new JobServer({
    software: `labgear ${version}`,
    log: ({ kind, address, message }) => log.warn({ kind, address }, `embedded job server: ${message}`),
  });
  try {
    await server.listen({ host, port });
    log.info({}, `no job server is configured: an embedded one listens on ${host}:${port}`);
    return server;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    log.info({}, `no job server is configured: the one that listens on ${host}:${port} is used`);
    return undefined;
  }
}
