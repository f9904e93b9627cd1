/** `labgear manual`: the manual pages, made from what `--help` and the schema of the configuration say. */
import { Argument, type Command } from "commander";
import { newCommand } from "../options.ts";
import type { CommandTree } from "../tree.ts";
import { commandPage } from "./commands.ts";
import { configPage } from "./config.ts";

const pages = { labgear: commandPage, "labgear.yaml": async () => configPage() } as const;

export function command(tree: CommandTree): Command {
  return newCommand("manual [PAGE] [OPTIONS]", "Prints a manual page for man(1): labgear manual | man -l -")
    .addArgument(
      new Argument("[page]", "the program, or the format of its configuration")
        .choices(Object.keys(pages))
        .default("labgear"),
    )
    .action(async (page: keyof typeof pages) => {
      process.stdout.write(await pages[page](tree));
    });
}
