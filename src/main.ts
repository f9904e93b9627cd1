/** The command line: which command, nothing else. */
import { commandNames, loadCommand, overview } from "./cli/commands.ts";
import { exitCodes, report } from "./cli/exit.ts";
import { version } from "./version.ts";

const [name = "--help", ...rest] = process.argv.slice(2);

if (name === "--help" || name === "-h" || (name === "help" && rest.length === 0)) {
  process.stdout.write(overview());
} else if (name === "--version" || name === "-V") {
  process.stdout.write(`labgear ${version}\n`);
} else {
  await run(name === "help" ? (rest[0] ?? "") : name, name === "help" ? ["--help"] : rest);
}

async function run(command: string, args: string[]): Promise<void> {
  const loaded = await loadCommand(command);
  if (!loaded) {
    const known = commandNames.join(", ");
    process.stderr.write(`labgear: there is no command ${JSON.stringify(command)}; there are ${known}\n`);
    process.exitCode = exitCodes.usage;
    return;
  }
  try {
    await loaded.parseAsync(args, { from: "user" });
  } catch (error) {
    process.exitCode = report(error);
  }
}
