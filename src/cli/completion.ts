/** `labgear completion`: what a shell needs to complete labgear's command lines, made from the commands themselves. */
import { Argument, type Command } from "commander";
import { bashCompletion, fishCompletion, zshCompletion } from "./completion-scripts.ts";
import { newCommand } from "./options.ts";
import type { CommandTree } from "./tree.ts";

const shells = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;

export function command(tree: CommandTree): Command {
  return newCommand("completion SHELL [OPTIONS]", "Prints the completions for a shell.")
    .addArgument(new Argument("<shell>", "whose").choices(Object.keys(shells)))
    .addHelpText(
      "after",
      '\nbash: eval "$(labgear completion bash)"; zsh: labgear completion zsh > a folder of $fpath, as _labgear;' +
        "\nfish: labgear completion fish | source. The Debian package has them in place.",
    )
    .action(async (shell: keyof typeof shells) => {
      process.stdout.write(shells[shell](await tree()));
    });
}
