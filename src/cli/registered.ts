/** Asks job servers what is registered, and finds the one that has a function. */
import { askServer, isOffered } from "#/client/registered.ts";
import type { FunctionStatus } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import type { GearmanError } from "#/gearman/wire/errors.ts";
import { parseFunction } from "#/zuul/functions.ts";
import { CommandError } from "./exit.ts";

/** A job server's functions, or why it did not answer. */
export type ServerAnswer =
  | { readonly server: ServerAddress; readonly functions: readonly FunctionStatus[] }
  | { readonly server: ServerAddress; readonly error: GearmanError };

/** Asks all servers at once. Never throws; the answers have the order of the servers. */
export function askServers(servers: readonly ServerAddress[]): Promise<ServerAnswer[]> {
  return Promise.all(servers.map(ask));
}

async function ask(server: ServerAddress): Promise<ServerAnswer> {
  try {
    return { server, functions: await askServer(server) };
  } catch (error) {
    return { server, error: error as GearmanError };
  }
}

/** The managers that more than one connection answers for: cloned boxes, or a lost connection that is still open. */
export function sharedManagers(functions: readonly FunctionStatus[]): string[] {
  return functions.flatMap(({ function: name, workers }) => {
    const asked = parseFunction(name);
    return asked?.kind === "stop" && workers > 1 ? [asked.manager] : [];
  });
}

/**
 * @returns the first server where a worker offers the function
 * @param lack the message when there is none
 * @throws CommandError notRegistered; GearmanError when no server answers
 */
export async function findFunction(
  servers: readonly ServerAddress[],
  name: string,
  lack: string,
): Promise<ServerAddress> {
  const answers = await askServers(servers);
  const found = answers.find((answer) => "functions" in answer && isOffered(answer.functions, name));
  if (found) return found.server;
  const failures = answers.flatMap((answer) => ("error" in answer ? [answer.error] : []));
  const [first] = failures;
  if (first && failures.length === answers.length) throw first;
  const unasked = failures.map(({ message }) => `; ${message}`).join("");
  const text = `${lack}: ${name} is not registered; \`labgear functions\` lists what is`;
  throw new CommandError("notRegistered", text + unasked);
}
