/** What differs between the small shells: barebox, Zephyr's shell and NuttX's NSH. */

export interface Dialect {
  /** In messages. */
  readonly name: string;
  /** The usual prompt, as the last line of the output. */
  readonly prompt: RegExp;
  /** Brings a prompt, and stops a boot loader that counts down. */
  readonly wake: string;
  /** Discards a half-typed line of so many characters, and brings a prompt. */
  readonly discard: (length: number) => string;
  /** Asks for the exit code of the last command. Only the first answer is the command's. */
  readonly ask: string;
  /** The answer; the code is in the first group. */
  readonly answer: RegExp;
  /** What the board prints after a command line that isn't complete. */
  readonly continuation?: string;
  /** The lines by which it starts, in this order. `version` prints barebox's first one, too. */
  readonly boot: readonly RegExp[];
  /** What an answer to `ask` shows when the shell can't tell exit codes, and what to do. */
  readonly lacks?: { readonly sign: RegExp; readonly remedy: string };
}

/** Twice, so that a damaged answer shows. NSH expands `$?` only as a word of its own unless it has CONFIG_NSH_ARGCAT. */
const echoTwice = { ask: "echo lg $? $?", answer: /^lg (-?\d+) \1$/ } as const;

export const dialects = {
  barebox: {
    name: "barebox",
    prompt: /^barebox[@:][^\n]{0,80} $/,
    // Any key but m, which opens its menu, stops the countdown.
    wake: "\x03",
    discard: () => "\x03",
    ...echoTwice,
    continuation: "> ",
    boot: [/^barebox 20\d\d\./, /^Board: /],
  },
  zephyr: {
    name: "Zephyr",
    prompt: /^[\w./-]{1,40}(?::~)?[$>] $/,
    wake: "\r",
    discard: () => "\x03",
    // A digit that the line loses would go unnoticed; but commands return 0 or a negative errno, and -0 is none.
    ask: "retval",
    answer: /^(0|-?[1-9]\d*)$/,
    // It begins no line of its own, so a reset may put it behind half a line.
    boot: [/\*\*\* Booting (?:Zephyr OS|nRF Connect SDK|MCUboot)/],
    lacks: {
      sign: /retval: command not found/,
      remedy: "build the firmware with CONFIG_SHELL_CMDS_RETURN_VALUE=y",
    },
  },
  nuttx: {
    name: "NuttX",
    prompt: /^[\w-]{0,30}nsh> $/,
    wake: "\r",
    // Its line editor may know no key that clears a line.
    discard: (length) => `${"\b".repeat(length)}\r`,
    ...echoTwice,
    boot: [/^NuttShell \(NSH\)/],
  },
} as const satisfies Record<string, Dialect>;

export type DialectName = keyof typeof dialects;
