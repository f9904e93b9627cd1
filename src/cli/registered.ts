/** Finding the job server on which a function is registered. */
import { Admin, type FunctionStatus } from "#/gearman/admin.ts";
import type { ServerAddress } from "#/gearman/dial.ts";
import type { GearmanError } from "#/gearman/errors.ts";
import { CommandError } from "./exit.ts";

/** How long a job server may take to answer, in milliseconds. */
const patience = 10_000;

/**
 * The functions of a job server.
 * @throws GearmanError
 */
export async function registeredFunctions(server: ServerAddress): Promise<FunctionStatus[]> {
  await using admin = await Admin.connect(server, { signal: AbortSignal.timeout(patience) });
  return await admin.status();
}

/**
 * The first of the servers where a worker offers the function.
 * @param lack what to say when there is none
 * @throws CommandError notRegistered; GearmanError when no server at all can be asked
 */
export async function findFunction(
  servers: readonly ServerAddress[],
  name: string,
  lack: string,
): Promise<ServerAddress> {
  const failures: GearmanError[] = [];
  for (const server of servers) {
    try {
      const functions = await registeredFunctions(server);
      // A line without workers is what is left of a node that has gone: work given to it would wait for ever.
      if (functions.some((entry) => entry.function === name && entry.workers > 0)) return server;
    } catch (error) {
      failures.push(error as GearmanError);
    }
  }
  const [first] = failures;
  if (first && failures.length === servers.length) throw first;
  throw new CommandError(
    "notRegistered",
    `${lack}: ${name} is not registered; \`labgear functions\` shows what is`,
  );
}
