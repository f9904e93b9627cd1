/** What is registered on job servers, and on which of them a function is. */
import { Admin, type FunctionStatus } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import type { GearmanError } from "#/gearman/wire/errors.ts";
import { CommandError } from "./exit.ts";

/** How long a job server may take to let us in, and then to answer, in milliseconds. */
const patience = 4000;

/** A job server, and what it knows or why it doesn't say. */
export type ServerAnswer =
  | { readonly server: ServerAddress; readonly functions: readonly FunctionStatus[] }
  | { readonly server: ServerAddress; readonly error: GearmanError };

/** Asks all servers at once. Never throws; the answers come in the order of the servers. */
export function askServers(servers: readonly ServerAddress[]): Promise<ServerAnswer[]> {
  return Promise.all(servers.map(ask));
}

async function ask(server: ServerAddress): Promise<ServerAnswer> {
  try {
    await using admin = await Admin.connect(server, { timeoutMs: patience, answerTimeoutMs: patience });
    return { server, functions: await admin.status() };
  } catch (error) {
    return { server, error: error as GearmanError };
  }
}

/**
 * Whether a worker offers the function. A line without workers is what is left of a node that has gone: work given to it
 * would wait for ever.
 */
export function isOffered(functions: readonly FunctionStatus[], name: string): boolean {
  return functions.some((entry) => entry.function === name && entry.workers > 0);
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
  const answers = await askServers(servers);
  const found = answers.find((answer) => "functions" in answer && isOffered(answer.functions, name));
  if (found) return found.server;
  const failures = answers.flatMap((answer) => ("error" in answer ? [answer.error] : []));
  const [first] = failures;
  if (first && failures.length === answers.length) throw first;
  const unasked = failures.map(({ message }) => `; ${message}`).join("");
  const text = `${lack}: ${name} is not registered; \`labgear functions\` shows what is`;
  throw new CommandError("notRegistered", text + unasked);
}
