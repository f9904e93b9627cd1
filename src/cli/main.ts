/** Finds the command that the command line names, and runs it. */

import { didYouMean, shown } from "#/lib/text.ts";
import { version } from "#/lib/version.ts";
import { commandNames, loadCommand, overview } from "./commands.ts";
import { exitCodes, report } from "./exit.ts";

export async function main(): Promise<void> {
  // A reader such as `head` may leave early: what is still written is dropped, and the exit code stays what it would be.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") process.exit(report(error));
  });
  const [name = "--help", ...rest] = process.argv.slice(2);
  if (["--help", "-h"].includes(name) || (name === "help" && (rest[0] ?? "-").startsWith("-"))) {
    process.stdout.write(overview());
  } else if (["--version", "-V"].includes(name)) {
    process.stdout.write(`labgear ${version}\n`);
  } else {
    const [command = "", args] = name === "help" ? [rest[0], ["--help"]] : [name, rest];
    try {
      process.exitCode = await run(command, args);
    } catch (error) {
      process.exitCode = report(error);
    }
  }
}

async function run(command: string, args: string[]): Promise<number | undefined> {
  const loaded = await loadCommand(command);
  if (loaded) {
    await loaded.parseAsync(args, { from: "user" });
    return process.exitCode as number | undefined;
  }
  const kind = command.startsWith("-") ? "option" : "command";
  const hint = `${didYouMean(command, commandNames)}; see \`labgear --help\``;
  process.stderr.write(`labgear: there is no ${kind} ${shown(command)}${hint}\n`);
  return exitCodes.usage;
}
