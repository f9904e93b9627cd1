/** The commands with their options and arguments, for the manual and the completions. */
import type { Command } from "commander";

export interface CommandOption {
  /** `-p, --parameter <key=value>` */
  readonly flags: string;
  readonly long: string;
  readonly short?: string;
  readonly description: string;
  readonly takesValue: boolean;
  /** The allowed values; empty: anything. */
  readonly choices: readonly string[];
}

export interface CommandNode {
  readonly name: string;
  /** One line, as in the overview. */
  readonly summary: string;
  readonly description: string;
  /** What goes after `labgear`. */
  readonly usage: string;
  readonly options: readonly CommandOption[];
  readonly arguments: readonly { readonly name: string; readonly description: string }[];
  /** The help text after the options. */
  readonly notes: string;
}

/** Loads every command. */
export type CommandTree = () => Promise<CommandNode[]>;

/** @param summary one line, as in the overview */
export function describeCommand(command: Command, summary: string): CommandNode {
  const help = command.createHelp();
  return {
    name: command.name(),
    summary,
    description: command.description(),
    usage: `${command.name()} ${command.usage()}`,
    options: help.visibleOptions(command).map((option) => ({
      flags: option.flags,
      long: option.long ?? option.flags,
      ...(option.short && { short: option.short }),
      description: help.optionDescription(option),
      takesValue: option.required || option.optional,
      choices: option.argChoices ?? [],
    })),
    arguments: command.registeredArguments.map((argument) => ({
      name: argument.name(),
      description: argument.description,
    })),
    notes: helpOf(command).slice(command.helpInformation().length).trim(),
  };
}

function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({ writeOut: (part) => (text += part), getOutHasColors: () => false });
  command.outputHelp();
  return text;
}
