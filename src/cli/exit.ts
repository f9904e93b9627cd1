/** Exit codes, and how an error becomes a message and a code. */
import { CommanderError, InvalidArgumentError } from "commander";
import { ConfigError } from "#/config/errors.ts";
import { ControlError } from "#/control/errors.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { CodedError } from "#/lib/errors.ts";
import { printable } from "#/lib/text.ts";

export const exitCodes = {
  success: 0,
  /** The build failed; for other commands, the command did. */
  failure: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  aborted: 3,
  timedOut: 4,
  /** The build ended without a result: infrastructure. */
  noResult: 5,
  notRegistered: 6,
  noServer: 7,
  /** The build waited too long in the queue; it won't run. */
  gaveUp: 8,
  /** 128 + SIGINT, as shells have it. */
  interrupted: 130,
} as const;

/** Ends a command with a message and an exit code. */
export class CommandError extends CodedError<keyof typeof exitCodes> {
  override readonly name = "CommandError";
}

/**
 * Prints what went wrong on standard error: one line, or for the configuration one line for each mistake, beginning
 * with FILE:LINE as editors expect.
 * @returns the exit code
 */
export function report(error: unknown): number {
  // Commander has printed its own line; asking for help is not an error.
  if (error instanceof CommanderError && !(error instanceof InvalidArgumentError)) {
    return error.exitCode === 0 ? exitCodes.success : exitCodes.usage;
  }
  process.stderr.write(`${text(error).split("\n").map(printable).join("\n")}\n`);
  return exitCodes[codeOf(error)];
}

function text(error: unknown): string {
  if (!(error instanceof Error)) return `labgear: ${error}`;
  if (isConfiguration(error) && /^\S+:\d+: /.test(error.message)) return error.message;
  // An error without a code, or with one of Node's own for wrong calls, is a bug: its stack goes into the report.
  const foreseen = "code" in error && !/^ERR_(?!OSSL|SSL)/.test(`${error.code}`);
  return `labgear: ${foreseen ? error.message : error.stack}`;
}

function codeOf(error: unknown): keyof typeof exitCodes {
  if (error instanceof CommandError) return error.code;
  if (error instanceof InvalidArgumentError || isConfiguration(error)) return "usage";
  return error instanceof GearmanError ? "noServer" : "failure";
}

/** A mistake in the configuration, found here or by the agent. */
function isConfiguration(error: unknown): boolean {
  return error instanceof ConfigError || (error instanceof ControlError && error.code === "CONFIGURATION");
}
