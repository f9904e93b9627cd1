/** What is registered at a job server, and which managers are among it. */
import { Admin, type FunctionStatus } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";

/** For the connection and for the answer. */
const serverTimeoutMs = 4000;

/** @throws GearmanError when it doesn't answer */
export async function askServer(server: ServerAddress): Promise<FunctionStatus[]> {
  const timeouts = { timeoutMs: serverTimeoutMs, answerTimeoutMs: serverTimeoutMs };
  await using admin = await Admin.connect(server, timeouts);
  return await admin.status();
}

/**
 * The managers that have a function of a kind registered.
 * @param functionOf such as stopFunction or infoFunction
 */
export function managersWith(
  functions: readonly FunctionStatus[],
  functionOf: (manager: string) => string,
): string[] {
  const prefix = functionOf("");
  return functions
    .filter(({ function: name, workers }) => workers > 0 && name.startsWith(prefix))
    .map(({ function: name }) => name.slice(prefix.length))
    .filter((manager) => manager !== "" && !manager.includes(":"));
}

/**
 * Whether a worker offers the function. A function without workers belonged to a node that has gone: a job for it would
 * wait for ever.
 */
export function isOffered(functions: readonly FunctionStatus[], name: string): boolean {
  return functions.some((entry) => entry.function === name && entry.workers > 0);
}
