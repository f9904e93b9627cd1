/** `labgear stop`: stops a build on any box, through its manager. */
import type { Command } from "commander";
import { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { stopFunction } from "#/zuul/functions.ts";
import { CommandError } from "./exit.ts";
import { buildName, newCommand } from "./options.ts";
import { findFunction } from "./registered.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";

const managerTimeoutMs = 20_000;

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
  const submitted = await client.submit({ function: stopFunction(manager), data, priority: "high" });
  let silent = false;
  const timer = setTimeout(() => {
    silent = true;
    void client[Symbol.asyncDispose]();
  }, managerTimeoutMs);
  try {
    for await (const event of submitted) {
      if (event.type === "fail")
        throw new CommandError("failure", `${manager} is not running build ${build}`);
    }
  } catch (cause) {
    if (!silent) throw cause;
    throw new CommandError("failure", `${manager} does not answer: see its log`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** The argument of `stop:` for JOB#NUMBER or a uuid; see parseStopArgument. */
export function stopArgument(build: string): string {
  const [, name, number] = /^(.+)#(\d+)$/.exec(build) ?? [];
  return JSON.stringify(name ? { name, number: Number(number) } : { uuid: build });
}
