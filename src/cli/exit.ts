/** Exit codes, and how an error becomes clear lines and a code. */
import { CommanderError, InvalidArgumentError } from "commander";
import { ConfigError } from "#/config/errors.ts";
import { ControlError } from "#/control/errors.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { printable } from "#/lib/text.ts";

/** The contract's exit codes. */
export const exitCodes = {
  success: 0,
  /** The build failed; or, of the other commands, what was asked couldn't be done. */
  failure: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  aborted: 3,
  timedOut: 4,
  /** The build ended without a result: infrastructure. */
  noResult: 5,
  notRegistered: 6,
  noServer: 7,
  /** As a shell has it for who is ended by SIGINT. */
  interrupted: 130,
} as const;

/** Ends a command with a line and a code. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly code: keyof typeof exitCodes;

  constructor(code: keyof typeof exitCodes, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Prints what went wrong on standard error: one line, but mistakes in the configuration each on a line of their own,
 * which begins with FILE:LINE as editors want it.
 * @returns the exit code
 */
export function report(error: unknown): number {
  // Commander has printed its own line already; asking for help is no error.
  if (error instanceof CommanderError && !(error instanceof InvalidArgumentError)) {
    return error.exitCode === 0 ? exitCodes.success : exitCodes.usage;
  }
  process.stderr.write(`${text(error).split("\n").map(printable).join("\n")}\n`);
  return exitCodes[codeOf(error)];
}

function text(error: unknown): string {
  if (!(error instanceof Error)) return `labgear: ${error}`;
  if (isConfiguration(error) && /^\S+:\d+: /.test(error.message)) return error.message;
  // Nobody foresaw an error without a code, or with one of Node's own for wrong calls: the stack is for a bug report.
  const foreseen = "code" in error && !/^ERR_(?!OSSL|SSL)/.test(`${error.code}`);
  return `labgear: ${foreseen ? error.message : error.stack}`;
}

function codeOf(error: unknown): keyof typeof exitCodes {
  if (error instanceof CommandError) return error.code;
  if (error instanceof InvalidArgumentError || isConfiguration(error)) return "usage";
  return error instanceof GearmanError ? "noServer" : "failure";
}

/** True for mistakes in the configuration, found here or by the agent. */
function isConfiguration(error: unknown): boolean {
  return error instanceof ConfigError || (error instanceof ControlError && error.code === "CONFIGURATION");
}
