/** `labgear stop`: stops a build from afar, through its manager. */
import type { Command } from "commander";
import { Admin } from "#/gearman/admin.ts";
import { Client } from "#/gearman/client.ts";
import type { ServerAddress } from "#/gearman/dial.ts";
import { stopFunction } from "#/zuul/functions.ts";
import { CommandError } from "./exit.ts";
import { buildName, findServers, newCommand, withServers } from "./options.ts";
import { findFunction } from "./registered.ts";

export function command(): Command {
  return withServers(newCommand("stop MANAGER JOB#NUMBER|UUID [OPTIONS]", "Stops a running build."))
    .argument("<manager>", "the agent's name, as its builds tell it")
    .argument("<build>", "JOB#NUMBER, or the build's uuid")
    .action(async (manager: string, build: string, options: object) => {
      const name = stopFunction(manager);
      const server = await findFunction(
        await findServers(options),
        name,
        `no manager ${manager} is connected`,
      );
      await askManager(server, manager, build);
      process.stdout.write(`${build} is being stopped\n`);
    });
}

/**
 * Stops a build that this program submitted.
 * @param build.manager the agent that runs it; undefined: it still waits in the job server's queue
 * @throws GearmanError; CommandError failure when the build had ended already
 */
export async function stopBuild(
  server: ServerAddress,
  build: { uuid: string; handle: string; manager: string | undefined },
): Promise<void> {
  if (build.manager !== undefined) return askManager(server, build.manager, build.uuid);
  await using admin = await Admin.connect(server, { signal: AbortSignal.timeout(10_000) });
  await admin.cancelJob(build.handle);
}

async function askManager(server: ServerAddress, manager: string, build: string): Promise<void> {
  await using client = await Client.connect(server, { signal: AbortSignal.timeout(10_000) });
  const data = stopArgument(build);
  for await (const event of await client.submit({
    function: stopFunction(manager),
    data,
    priority: "high",
  })) {
    if (event.type === "fail") throw new CommandError("failure", `${manager} runs no build ${build}`);
  }
}

/** What goes to `stop:`; see parseStopArgument. */
function stopArgument(build: string): string {
  if (!build.includes("#")) return JSON.stringify({ uuid: build });
  const { job, number } = buildName(build);
  return JSON.stringify({ name: job, number });
}
