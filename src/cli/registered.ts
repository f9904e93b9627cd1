/** Asks job servers what is registered, and finds the one that has a function. */
import { Admin, type FunctionStatus } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import type { GearmanError } from "#/gearman/wire/errors.ts";
import { parseFunction } from "#/zuul/functions.ts";
import { CommandError } from "./exit.ts";

/** For the connection and for each answer. */
const serverTimeoutMs = 4000;

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

/** The managers that more than one connection answers for: cloned boxes, or a lost connection that is still open. */
export function sharedManagers(functions: readonly FunctionStatus[]): string[] {
  return functions.flatMap(({ function: name, workers }) => {
    const asked = parseFunction(name);
    return asked?.kind === "stop" && workers > 1 ? [asked.manager] : [];
  });
}

/**
 * Whether a worker offers the function. A function without workers belonged to a node that has gone: a job for it would
 * wait for ever.
 */
export function isOffered(functions: readonly FunctionStatus[], name: string): boolean {
  return functions.some((entry) => entry.function === name && entry.workers > 0);
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
