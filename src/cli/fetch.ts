/** `labgear fetch`: brings a build's results here, from any machine and at any later time. */
import type { Command } from "commander";
import { ManagerCalls } from "#/client/calls.ts";
import { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { fetchFunction } from "#/exchange/functions.ts";
import { CommandError } from "./exit.ts";
import { findGate, type GateOptions, readBuild, withGate } from "./gate-options.ts";
import { buildName, newCommand, selectBuild } from "./options.ts";
import { findFunction } from "./registered.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";
import { collectInto, describeCollected, whyNot } from "./transfer/collect.ts";
import { readKey } from "./transfer/key-file.ts";
import { type AskPiece, askAgent, BuildResults } from "./transfer/results.ts";

interface FetchOptions extends ServerOptions, GateOptions {
  readonly to: string;
  readonly key?: string;
}

export function command(): Command {
  return withGate(
    withServers(
      newCommand(
        "fetch MANAGER JOB#NUMBER|UUID [PATTERN] --to FOLDER",
        "Fetches what a build has left, its digests checked; what an earlier attempt has fetched isn't fetched again.",
      ),
    ),
  )
    .argument("<manager>", "the agent's name, as its builds report it")
    .argument("<build>", "JOB#NUMBER, or the build's uuid", buildName)
    .argument(
      "[pattern]",
      "which artifacts, such as '**/*.log'; or console, record, junit, serial (default: all)",
    )
    .requiredOption("--to <folder>", "where it goes; nothing is written outside it")
    .option(
      "--key <file>",
      "the key that `labgear build --key` used: needed where results aren't public, and with --gate",
    )
    .addHelpText(
      "after",
      "\nExit code: 0, 1 if something can't be fetched, 6 no such agent, 7 no job server.",
    )
    .action(async (manager: string, build: string, pattern: string | undefined, options: FetchOptions) => {
      const warnings: string[] = [];
      await using resources = new AsyncDisposableStack();
      const results = new BuildResults(await findResults(manager, build, options, resources));
      const isWanted = pattern === undefined ? undefined : matcher(pattern);
      try {
        const collected = await collectInto(options.to, results, (text) => warnings.push(text), isWanted);
        if (collected.files === 0) throw new CommandError("failure", await whyNothing(results, pattern));
        process.stdout.write(`${describeCollected(collected, options.to)}\n`);
      } catch (cause) {
        throw new CommandError("failure", `${build} of ${manager}: ${whyNot(cause)}${advice(cause, build)}`, {
          cause,
        });
      }
      for (const text of warnings) process.stderr.write(`labgear: ${text}\n`);
      if (warnings.length > 0) process.exitCode = 1;
    });
}

async function findResults(
  manager: string,
  build: string,
  options: FetchOptions,
  resources: AsyncDisposableStack,
): Promise<AskPiece> {
  const gate = await findGate(options);
  if (gate) {
    const own = await readBuild(options.key, build);
    return (path, offset, length) => gate.piece(own, path, offset, length);
  }
  const lack = `no manager ${manager} is connected that serves results`;
  const signer = options.key === undefined ? undefined : new Signer(await readKey(options.key));
  const server = await findFunction(await findServers(options), fetchFunction(manager), lack);
  return askAgent({
    calls: resources.use(new ManagerCalls(server)),
    manager,
    build: selectBuild(build),
    signer,
  });
}

function advice(error: unknown, build: string): string {
  const code = error instanceof ExchangeError ? error.code : undefined;
  if (code === "unsigned" || code === "signature")
    return "; give the file of its `labgear build --key FILE` as --key";
  return code === "unknown-build" && !build.includes("#") ? "; expected JOB#NUMBER or a uuid" : "";
}

const maxShownPaths = 10;

async function whyNothing(results: BuildResults, pattern: string | undefined): Promise<string> {
  const paths = (await results.artifacts()).map(({ path }) => path);
  const shown = paths.slice(0, maxShownPaths).join(", ");
  const more = paths.length > maxShownPaths ? ` and ${paths.length - maxShownPaths} more` : "";
  const artifacts = paths.length === 0 ? "it has no artifacts" : `its artifacts are ${shown}${more}`;
  return `it has nothing like ${pattern}; ${artifacts}`;
}

/** `*` and `?` stay within a folder, `**` doesn't; as for a job's artifacts. */
function matcher(pattern: string): (path: string) => boolean {
  const source = pattern.replaceAll(/\*\*\/|\*\*|\*|\?|[\\^$.+()[\]{}|]/g, (part) => {
    if (part === "**/") return "(?:.*/)?";
    if (part === "**") return ".*";
    return part === "*" ? "[^/]*" : part === "?" ? "[^/]" : `\\${part}`;
  });
  const expression = new RegExp(`^${source}$`, "s");
  return (path) => expression.test(path);
}
