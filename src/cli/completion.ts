/** `labgear completion`: completions for bash, zsh and fish, generated from the commands themselves. */
import { Argument, type Command, Option } from "commander";
import type { BuildSummary } from "#/builds/record.ts";
import type { AgentStatus, DeviceStatus } from "#/lib/status.ts";
import { parseFunction } from "#/zuul/functions.ts";
import { findAgent, newCommand } from "./options.ts";
import { askServers } from "./registered.ts";
import { findServers } from "./servers.ts";
import type { CommandNode, CommandOption, CommandTree } from "./tree.ts";

const shells = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;

export function command(tree: CommandTree): Command {
  return newCommand("completion SHELL [OPTIONS]", "Prints the completions for a shell.")
    .addArgument(new Argument("<shell>", "the shell").choices(Object.keys(shells)))
    .addOption(new Option("--values <kind>", "print what can be named now").choices(valueKinds).hideHelp())
    .addHelpText(
      "after",
      '\nbash: eval "$(labgear completion bash)"; zsh: labgear completion zsh > a folder of $fpath, as _labgear;' +
        "\nfish: labgear completion fish | source. The Debian package installs all three.",
    )
    .action(async (shell: keyof typeof shells, { values }: { values?: ValueKind }) => {
      if (values === undefined) return void process.stdout.write(shells[shell](await tree()));
      // Where neither an agent nor a job server answers, there is nothing to complete.
      const found = await valuesOf(values).catch(() => []);
      process.stdout.write([...new Set(found)].map((value) => `${value}\n`).join(""));
    });
}

const valueKinds = ["jobs", "builds", "nodes", "classes", "devices", "boxes"] as const;
type ValueKind = (typeof valueKinds)[number];

/** What an argument or an option's value of this name can be. */
const kindByName: Readonly<Record<string, ValueKind>> = {
  ...{ job: "jobs", build: "builds", node: "nodes", class: "classes", device: "devices" },
  ...{ box: "boxes", manager: "boxes", "of-box": "builds", "of-manager": "builds" },
};

const agentTimeoutMs = 3000;
const maxBuilds = 100;
/** Others would need quotes in some shell; no name that a configuration has is left out. */
const plainName = /^[^\s'"`$\\;&|<>(){}*?[\]!]+$/;

/** By the agent here and the job servers. @throws ControlError, GearmanError, ConfigError */
async function valuesOf(kind: ValueKind): Promise<string[]> {
  const ask = <T>(path: string) => findAgent({}).json<T>("GET", path, { timeoutMs: agentTimeoutMs });
  const names = async () => {
    switch (kind) {
      case "builds":
        return (await ask<BuildSummary[]>(`/builds?limit=${maxBuilds}`)).map(
          ({ job, number }) => `${job}#${number}`,
        );
      case "nodes":
        return (await ask<AgentStatus>("/status")).nodes.map(({ name }) => name);
      case "devices":
        return (await ask<DeviceStatus[]>("/devices")).map(({ name }) => name);
      default:
        return await registeredNames(kind);
    }
  };
  return (await names()).filter((name) => plainName.test(name));
}

async function registeredNames(kind: "jobs" | "classes" | "boxes"): Promise<string[]> {
  const answers = await askServers(await findServers({}));
  const functions = answers.flatMap((answer) => ("functions" in answer ? answer.functions : []));
  return functions.flatMap(({ function: name }) => {
    const asked = parseFunction(name);
    if (asked?.kind === "stop") return kind === "boxes" ? [asked.manager] : [];
    if (asked?.kind !== "build" || kind === "boxes") return [];
    return kind === "jobs" ? [asked.job] : (asked.target ?? []);
  });
}

function kindOf({ flags }: CommandOption): ValueKind | undefined {
  return kindByName[/<([a-z-]+)>/.exec(flags)?.[1] ?? ""];
}

/** By the name of the option's value. */
const takesFile = ({ flags }: CommandOption): boolean => /<(file|folder|socket)>/.test(flags);

const wordsOf = ({ long, short }: CommandOption): string[] => [long, ...(short ? [short] : [])];

function bashCompletion(commands: readonly CommandNode[]): string {
  const cases = commands.map(({ name, options, arguments: names }) => {
    const words = options.flatMap(wordsOf).join(" ");
    const kinds = names.map((argument) => kindByName[argument.name] ?? "-").join(" ");
    const takes = options.filter(({ takesValue }) => takesValue).flatMap(wordsOf);
    const valued = options.flatMap((option) => {
      const kind = kindOf(option);
      return kind ? wordsOf(option).map((word) => `[${word}]=${kind}`) : [];
    });
    return `    ${name}) words="${words}" kinds=(${kinds}) takes=" ${takes.join(" ")} " valued=(${valued.join(" ")}) ;;\n`;
  });
  const files = [...new Set(commands.flatMap(({ options }) => options.filter(takesFile).flatMap(wordsOf)))];
  const options = unique(commands.flatMap(({ options }) => options));
  const choices = options.filter((option) => option.choices.length > 0);
  const reply = (words: string) => `mapfile -t COMPREPLY < <(compgen -W "${words}" -- "$current")`;
  return `# Completions of labgear for bash; generated by: labgear completion bash
_labgear() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" words="" takes="" kind at=0 i
  local -a kinds=()
  local -A valued=()
  case "$previous" in
    ${files.join(" | ")}) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
${choices.map((option) => `    ${option.long}) ${reply(option.choices.join(" "))}; return ;;\n`).join("")}  esac
  if ((COMP_CWORD == 1)); then
    words="${commands.map(({ name }) => name).join(" ")} help --help --version"
  else case "\${COMP_WORDS[1]}" in
${cases.join("")}    help) words="${commands.map(({ name }) => name).join(" ")}" ;;
  esac; fi
  kind="\${valued[$previous]:-}"
  if [[ -z $kind && $current != -* ]]; then
    for ((i = 2; i < COMP_CWORD; i++)); do
      if [[ \${COMP_WORDS[i]} != -* ]]; then ((at += 1))
      elif [[ $takes == *" \${COMP_WORDS[i]} "* ]]; then ((i += 1)); fi
    done
    kind="\${kinds[at]:--}"
  fi
  if [[ -n $kind && $kind != - ]]; then words="$(labgear completion bash --values "$kind" 2>/dev/null)"; fi
  ${reply("$words")}
}
complete -F _labgear labgear
`;
}

function zshCompletion(commands: readonly CommandNode[]): string {
  const described = commands.map(({ name, summary }) => `    ${quoted(`${name}:${summary}`)}\n`);
  const cases = commands.map(({ name, options, arguments: names }) => {
    const specs = options.map((option) => `        ${quoted(zshOption(option))} \\\n`);
    const rest = names.map(({ name: argument }, index) => {
      const kind = kindByName[argument];
      return `        ${quoted(`${index + 1}:${argument}:${kind ? `_labgear_values ${kind}` : ""}`)} \\\n`;
    });
    return `      ${name})\n      _arguments \\\n${[...specs, ...rest].join("")}        && return 0 ;;\n`;
  });
  return `#compdef labgear
# Completions of labgear for zsh; generated by: labgear completion zsh
_labgear_values() {
  local -a values
  values=(\${(f)"$(labgear completion zsh --values $1 2>/dev/null)"})
  compadd -a values
}
_labgear() {
  local -a commands
  commands=(
${described.join("")}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join("")}  esac
}
_labgear "$@"
`;
}

function zshOption(option: CommandOption): string {
  const text = option.description.replace(/[[\]:]/g, " ");
  const kind = kindOf(option);
  const given =
    option.choices.length > 0
      ? `(${option.choices.join(" ")})`
      : takesFile(option)
        ? "_files"
        : kind
          ? `_labgear_values ${kind}`
          : "";
  const value = option.takesValue ? `:value:${given}` : "";
  return `${option.long}${option.takesValue ? "=" : ""}[${text}]${value}`;
}

function fishCompletion(commands: readonly CommandNode[]): string {
  const names = commands.map(({ name }) => name).join(" ");
  const lines = commands.flatMap(({ name, summary, options, arguments: args }) => [
    `complete -c labgear -f -n "not __fish_seen_subcommand_from ${names}" -a ${name} -d ${quoted(summary)}`,
    ...options.map((option) => {
      const short = option.short ? ` -s ${option.short.slice(1)}` : "";
      const value = option.takesValue ? (takesFile(option) ? " -r -F" : " -x") : "";
      const kind = kindOf(option);
      const given = option.choices.length > 0 ? option.choices.join(" ") : kind && fishValues(kind);
      const choices = given ? ` -a ${quoted(given)}` : "";
      return `complete -c labgear -n "__fish_seen_subcommand_from ${name}" -l ${option.long.slice(2)}${short}${value}${choices} -d ${quoted(option.description)}`;
    }),
    ...args.flatMap((argument, index) => {
      const kind = kindByName[argument.name];
      return kind
        ? [`complete -c labgear -f -n "__labgear_at ${name} ${index}" -a ${quoted(fishValues(kind))}`]
        : [];
    }),
  ]);
  return `# Completions of labgear for fish; generated by: labgear completion fish
function __labgear_at
  set -l words (commandline -opc | string match -v -- '-*')
  test "$words[2]" = $argv[1] -a (count $words) -eq (math $argv[2] + 2)
end
${lines.join("\n")}
`;
}

function fishValues(kind: ValueKind): string {
  return `(labgear completion fish --values ${kind} 2>/dev/null)`;
}

/** Quoted for any of the three shells. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "’")}'`;
}

function unique(options: readonly CommandOption[]): CommandOption[] {
  return [...new Map(options.map((option) => [option.long, option])).values()];
}
