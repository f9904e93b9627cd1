/** A program's commands: name, summary and module. Only the command that runs is loaded. */
import type { Command } from "commander";
import { type CommandTree, describeCommand } from "./tree.ts";

export interface CommandEntry {
  readonly summary: string;
  readonly load: () => Promise<{ command: (tree: CommandTree) => Command }>;
}

/** By title and name. */
export type CommandGroups = Readonly<Record<string, Readonly<Record<string, CommandEntry>>>>;

export interface Catalogue {
  readonly commandNames: readonly string[];
  /** @returns the command, ready to parse its arguments; undefined when there is no such command */
  loadCommand(name: string): Promise<Command | undefined>;
  /** What `labgear --help` prints. */
  overview(): string;
}

/** @param intro one line */
export function catalogue(intro: string, groups: CommandGroups): Catalogue {
  const entries = new Map(Object.values(groups).flatMap((group) => Object.entries(group)));
  const tree: CommandTree = async () =>
    await Promise.all(
      [...entries.values()].map(async ({ summary, load }) =>
        describeCommand((await load()).command(tree), summary),
      ),
    );
  return {
    commandNames: [...entries.keys()],
    loadCommand: async (name) => (await entries.get(name)?.load())?.command(tree),
    overview: () => overview(intro, groups),
  };
}

function overview(intro: string, groups: CommandGroups): string {
  const names = Object.values(groups).flatMap((group) => Object.keys(group));
  const width = Math.max(...names.map((name) => name.length));
  const sections = Object.entries(groups).map(([title, group]) => {
    const lines = Object.entries(group).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
    return `${title}:\n${lines.join("\n")}\n`;
  });
  return [
    `${intro}\n`,
    "Usage: labgear COMMAND [OPTIONS]\n",
    ...sections,
    "Run labgear COMMAND --help for details, labgear --version for the version.\n",
  ].join("\n");
}
