/** `labgear build`: runs a build on whatever node takes it, and follows it to its end. */
import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import { Client } from "#/gearman/client.ts";
import { buildFunction } from "#/zuul/functions.ts";
import { exitCodes } from "./exit.ts";
import { followBuild } from "./follow.ts";
import { findServers, newCommand, type ServerOptions, withServers } from "./options.ts";
import { findFunction } from "./registered.ts";
import { chooseRenderer } from "./render.ts";
import { stopBuild } from "./stop.ts";

interface BuildOptions extends ServerOptions {
  readonly node?: string;
  readonly parameter: readonly [string, string][];
  readonly detach?: true;
  readonly json?: true;
}

export function command(): Command {
  return withServers(
    newCommand("build JOB [OPTIONS]", "Runs a build and follows its output; Ctrl-C stops the build."),
  )
    .argument("<job>", "one of the jobs that `labgear functions` shows")
    .option("--node <class>", "a class of nodes, or one node's name (default: any node that runs the job)")
    .option("-p, --parameter <key=value>", "a parameter of the build; may be given again", parameter, [])
    .option("--detach", "submit the build and don't wait for it")
    .option("--json", "one JSON object a line: created, started, output, progress, ended")
    .addHelpText(
      "after",
      "\nExit code: 0 SUCCESS, 1 FAILURE, 3 ABORTED, 4 TIMED_OUT, 5 no result (infrastructure), 6 not registered," +
        "\n7 no job server, 2 a wrong command line or configuration.",
    )
    .action(async (job: string, options: BuildOptions) => {
      process.exitCode = await run(job, options);
    });
}

async function run(job: string, options: BuildOptions): Promise<number> {
  const name = buildFunction(job, options.node);
  const server = await findFunction(await findServers(options), name, `no node runs ${job} now`);
  const uuid = crypto.randomUUID().replaceAll("-", "");
  const parameters = {
    ZUUL_UUID: uuid,
    ...(options.node && { ZUUL_NODE: options.node }),
    ...(!options.detach && { LABGEAR_STREAM: "1" }),
    ...Object.fromEntries(options.parameter),
  };
  await using client = await Client.connect(server, { signal: AbortSignal.timeout(10_000) });
  const data = JSON.stringify(parameters);
  const submitted = await client.submit({
    function: name,
    unique: uuid,
    data,
    background: options.detach === true,
  });
  await using renderer = chooseRenderer(process.stdout, options.json === true);
  renderer.show({ event: "created", job, uuid, handle: submitted.handle });
  if (options.detach) return exitCodes.success;
  return await followBuild(submitted, {
    renderer,
    stop: (manager) => stopBuild(server, { uuid, manager, handle: submitted.handle }),
  });
}

function parameter(text: string, former: [string, string][]): [string, string][] {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("expected KEY=VALUE.");
  return [...former, [text.slice(0, at), text.slice(at + 1)]];
}
