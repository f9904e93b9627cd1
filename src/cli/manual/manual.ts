/** `labgear manual`: the manual pages, generated from the commands' help and the configuration's schema. */
import { Argument, type Command } from "commander";
import { defaultConfigFile } from "#/config/load.ts";
import { defaultControl } from "#/control/client.ts";
import { version } from "#/lib/version.ts";
import { newCommand } from "../options.ts";
import type { CommandNode, CommandTree } from "../tree.ts";
import { configPage } from "./config.ts";
import { heading, item, pageStart, paragraph, subheading, verbatim } from "./roff.ts";

const pages = { labgear: commandPage, "labgear.yaml": async () => configPage() } as const;

export function command(tree: CommandTree): Command {
  return newCommand("manual [PAGE] [OPTIONS]", "Prints a manual page for man(1): labgear manual | man -l -")
    .addArgument(
      new Argument("[page]", "the program, or its configuration file")
        .choices(Object.keys(pages))
        .default("labgear"),
    )
    .action(async (page: keyof typeof pages) => {
      process.stdout.write(await pages[page](tree));
    });
}

/** labgear(1), in the format of man(7). */
async function commandPage(tree: CommandTree): Promise<string> {
  const commands = await tree();
  return [
    pageStart("labgear", 1, version),
    heading("Name"),
    "labgear \\- turns a build box and its boards into nodes for Gearman and Zuul\n",
    heading("Synopsis"),
    verbatim("labgear COMMAND [OPTIONS]\nlabgear COMMAND --help"),
    heading("Description"),
    paragraph(
      "labgear registers the jobs that a box offers with Gearman job servers and runs the builds that they hand out, on the " +
        "box itself or on a board on a serial port. Clients choose among the configured jobs; they never send commands.",
    ),
    heading("Commands"),
    ...commands.map(section),
    heading("Files"),
    item(defaultConfigFile, "The configuration; see labgear.yaml(5)."),
    item("/etc/labgear/conf.d/*.yaml", "Merged over it in the order of their names."),
    item("/etc/labgear/secrets, /etc/labgear/tls", "Passwords and keys that only the agent can read."),
    item("/var/lib/labgear", "Builds, workspaces and the agent's own state."),
    item(defaultControl, "The control socket: anyone who may write to it controls the agent."),
    heading("Environment"),
    item("LABGEAR_SERVER", "The job server that client commands talk to: HOST[:PORT]."),
    item("LABGEAR_CONTROL", "The control socket."),
    heading("Exit status"),
    item("0", "SUCCESS, or the command did what it was asked."),
    item("1", "FAILURE, or the command failed."),
    item("2", "The command line or the configuration is wrong."),
    item("3, 4, 5", "ABORTED, TIMED_OUT, no result."),
    item("6, 7", "The job is not registered; no job server answers."),
    heading("See also"),
    paragraph("labgear.yaml(5), gearmand(8), systemctl(1)"),
  ].join("");
}

function section({ usage, description, options, arguments: names, notes }: CommandNode): string {
  return [
    subheading(`labgear ${usage}`),
    paragraph(description),
    ...names.map(({ name, description: text }) => item(name.toUpperCase(), text)),
    ...options.map(({ flags, description: text }) => item(flags, text)),
    ...(notes ? [verbatim(notes)] : []),
  ].join("");
}
