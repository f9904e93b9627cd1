/** `labgear stop`: stops a build on any box, through its manager. */
import type { Command } from "commander";
import { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { stopFunction } from "#/zuul/functions.ts";
import { CommandError } from "./exit.ts";
import { buildName, newCommand } from "./options.ts";
import { askServers, findFunction, sharedManagers } from "./registered.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";

const managerTimeoutMs = 20_000;

/** Of agents that share a name, any may take the request, and only one has the build. */
const maxTries = 50;

export function command(): Command {
  return withServers(newCommand("stop MANAGER JOB#NUMBER|UUID [OPTIONS]", "Stops a running build."))
    .argument("<manager>", "the agent's name, as its builds report it")
    .argument("<build>", "JOB#NUMBER, or the build's uuid", buildName)
    .action(async (manager: string, build: string, options: ServerOptions) => {
      const servers = await findServers(options);
      const lack = `no manager ${manager} is connected`;
      await askManager(await findFunction(servers, stopFunction(manager), lack), manager, build);
      process.stdout.write(`${build} is being stopped\n`);
    });
}

/**
 * Asks a manager to stop a build.
 * @param build JOB#NUMBER, or a uuid
 * @throws GearmanError; CommandError failure when no such build is running there, or the manager does not answer
 */
async function askManager(server: ServerAddress, manager: string, build: string): Promise<void> {
  await using client = await Client.connect(server);
  const data = stopArgument(build);
  let silent = false;
  const timer = setTimeout(() => {
    silent = true;
    void client[Symbol.asyncDispose]();
  }, managerTimeoutMs);
  try {
    for (let tries = 1; !(await isDone(client, manager, data)); tries++) {
      if (tries >= (await triesFor(server, manager, build)))
        throw new CommandError("failure", `${manager} is not running build ${build}`);
    }
  } catch (cause) {
    if (!silent) throw cause;
    throw new CommandError("failure", `${manager} does not answer: see its log`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** False: the agent that took the request doesn't run the build. */
async function isDone(client: Client, manager: string, data: string): Promise<boolean> {
  const submitted = await client.submit({ function: stopFunction(manager), data, priority: "high" });
  for await (const event of submitted) if (event.type === "fail") return false;
  return true;
}

/** A uuid means one build only; JOB#NUMBER can mean one on each agent of the name. */
async function triesFor(server: ServerAddress, manager: string, build: string): Promise<number> {
  if (build.includes("#")) return 1;
  const [answer] = await askServers([server]);
  const isShared = answer && "functions" in answer && sharedManagers(answer.functions).includes(manager);
  return isShared ? maxTries : 1;
}

/** The argument of `stop:` for JOB#NUMBER or a uuid; see parseStopArgument. */
export function stopArgument(build: string): string {
  const [, name, number] = /^(.+)#(\d+)$/.exec(build) ?? [];
  return JSON.stringify(name ? { name, number: Number(number) } : { uuid: build });
}
