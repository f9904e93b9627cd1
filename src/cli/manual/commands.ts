/** The manual page labgear(1). */
import { defaultConfigFile } from "#/config/load.ts";
import { defaultControl } from "#/control/client.ts";
import { version } from "#/lib/version.ts";
import type { CommandNode, CommandTree } from "../tree.ts";
import { heading, item, pageStart, paragraph, subheading, verbatim } from "./roff.ts";

/** In the format of man(7). */
export async function commandPage(tree: CommandTree): Promise<string> {
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
    item("/etc/labgear/conf.d/*.yaml", "Laid over it in the order of their names."),
    item("/etc/labgear/secrets, /etc/labgear/tls", "Passwords and keys that the agent alone reads."),
    item("/var/lib/labgear", "Builds, workspaces, and what the agent has to remember."),
    item(defaultControl, "The control socket: who may write to it may control the agent."),
    heading("Environment"),
    item("LABGEAR_SERVER", "The job server that client commands talk to: HOST[:PORT]."),
    item("LABGEAR_CONTROL", "The control socket."),
    heading("Exit status"),
    item("0", "SUCCESS, or done."),
    item("1", "FAILURE, or it couldn't be done."),
    item("2", "A wrong command line or configuration."),
    item("3, 4, 5", "ABORTED, TIMED_OUT, no result."),
    item("6, 7", "Not registered, no job server."),
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
