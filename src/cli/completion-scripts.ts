/** Completions for bash, zsh and fish: commands, options, and the values of those that take files or one of a few. */
import type { CommandNode, CommandOption } from "./tree.ts";

/** Options whose value is a file's or folder's path, by what they call it. */
const takesFile = ({ flags }: CommandOption): boolean => /<(file|folder|socket)>/.test(flags);

const wordsOf = ({ long, short }: CommandOption): string[] => [long, ...(short ? [short] : [])];

export function bashCompletion(commands: readonly CommandNode[]): string {
  const cases = commands.map(({ name, options }) => {
    const words = options.flatMap(wordsOf).join(" ");
    return `    ${name}) words="${words}" ;;\n`;
  });
  const files = [...new Set(commands.flatMap(({ options }) => options.filter(takesFile).flatMap(wordsOf)))];
  const choices = unique(
    commands.flatMap(({ options }) => options.filter((option) => option.choices.length > 0)),
  );
  return `# Completions of labgear for bash; made by: labgear completion bash
_labgear() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" words=""
  case "$previous" in
    ${files.join(" | ")}) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
${choices.map(({ long, choices: words }) => `    ${long}) mapfile -t COMPREPLY < <(compgen -W "${words.join(" ")}" -- "$current"); return ;;\n`).join("")}  esac
  if ((COMP_CWORD == 1)); then
    words="${commands.map(({ name }) => name).join(" ")} help --help --version"
  else case "\${COMP_WORDS[1]}" in
${cases.join("")}    help) words="${commands.map(({ name }) => name).join(" ")}" ;;
  esac; fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _labgear labgear
`;
}

export function zshCompletion(commands: readonly CommandNode[]): string {
  const described = commands.map(({ name, summary }) => `    ${quoted(`${name}:${summary}`)}\n`);
  const cases = commands.map(({ name, options, arguments: names }) => {
    const specs = options.map((option) => `        ${quoted(zshOption(option))} \\\n`);
    const rest = names.map((argument, index) => `        ${quoted(`${index + 1}:${argument.name}:`)} \\\n`);
    return `      ${name})\n      _arguments \\\n${[...specs, ...rest].join("")}        && return 0 ;;\n`;
  });
  return `#compdef labgear
# Completions of labgear for zsh; made by: labgear completion zsh
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
  const value = option.takesValue
    ? `:value:${option.choices.length > 0 ? `(${option.choices.join(" ")})` : takesFile(option) ? "_files" : ""}`
    : "";
  return `${option.long}${option.takesValue ? "=" : ""}[${text}]${value}`;
}

export function fishCompletion(commands: readonly CommandNode[]): string {
  const names = commands.map(({ name }) => name).join(" ");
  const lines = commands.flatMap(({ name, summary, options }) => [
    `complete -c labgear -f -n "not __fish_seen_subcommand_from ${names}" -a ${name} -d ${quoted(summary)}`,
    ...options.map((option) => {
      const short = option.short ? ` -s ${option.short.slice(1)}` : "";
      const value = option.takesValue ? (takesFile(option) ? " -r -F" : " -x") : "";
      const choices = option.choices.length > 0 ? ` -a ${quoted(option.choices.join(" "))}` : "";
      return `complete -c labgear -n "__fish_seen_subcommand_from ${name}" -l ${option.long.slice(2)}${short}${value}${choices} -d ${quoted(option.description)}`;
    }),
  ]);
  return `# Completions of labgear for fish; made by: labgear completion fish\n${lines.join("\n")}\n`;
}

/** A word for any of the three shells. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "’")}'`;
}

function unique(options: readonly CommandOption[]): CommandOption[] {
  return [...new Map(options.map((option) => [option.long, option])).values()];
}
