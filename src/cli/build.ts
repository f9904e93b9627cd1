/** `labgear build`: runs a build on any node that takes it and follows it to its end. */
import { type Command, InvalidArgumentError } from "commander";
import { buildFunction } from "#/zuul/functions.ts";
import { launchBuild } from "./launch.ts";
import { newCommand, rawOption } from "./options.ts";
import { findFunction } from "./registered.ts";
import { chooseRenderer } from "./render.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";

interface BuildOptions extends ServerOptions {
  readonly node?: string;
  readonly parameter?: Readonly<Record<string, string>>;
  readonly detach?: true;
  readonly json?: true;
  readonly raw?: true;
}

export function command(): Command {
  return withServers(
    newCommand("build JOB [OPTIONS]", "Runs a build and follows its output; Ctrl-C stops the build."),
  )
    .argument("<job>", "a job that `labgear functions` lists")
    .option("--node <class>", "a class of nodes, or a node's name (default: any node that runs the job)")
    .option("-p, --parameter <key=value>", "a parameter of the build; can be repeated", parameter)
    .option("--detach", "submit the build and do not wait for it")
    .option("--json", "print one JSON object per line: created, started, output, progress, ended")
    .addOption(rawOption().conflicts("json"))
    .addHelpText(
      "after",
      "\nExit code: 0 SUCCESS, 1 FAILURE, 3 ABORTED, 4 TIMED_OUT, 5 no result (infrastructure), 6 not registered," +
        "\n7 no job server, 2 wrong command line or configuration, 130 interrupted while the build was still stopping.",
    )
    .action(async (job: string, options: BuildOptions) => {
      process.exitCode = await run(job, options);
    });
}

async function run(job: string, options: BuildOptions): Promise<number> {
  const { node, parameter: parameters = {}, detach = false } = options;
  const lack = `no node ${node === undefined ? "" : `${node} `}runs ${job} now`;
  const server = await findFunction(await findServers(options), buildFunction(job, node), lack);
  using renderer = chooseRenderer(process.stdout, options);
  const code = await launchBuild(server, { job, node, parameters, detach }, renderer);
  if (detach && !options.json) {
    process.stdout.write("find it with `labgear log UUID -f` or `labgear builds` on the box that takes it\n");
  }
  return code;
}

function parameter(text: string, former: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [, key, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new InvalidArgumentError("expected KEY=VALUE.");
  // It becomes the Gearman unique: gearmand allows 64 bytes, and `stop:` no white space.
  if (key === "ZUUL_UUID" && !/^[!-~]{1,64}$/.test(value)) {
    throw new InvalidArgumentError("expected 1 to 64 printable ASCII characters.");
  }
  return { ...former, [key]: value };
}
