/** Exit codes, and how an error becomes one clear line and a code. */
import { CommanderError } from "commander";

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

const codeByName: Record<string, keyof typeof exitCodes> = {
  ConfigError: "usage",
  GearmanError: "noServer",
};

/**
 * Prints what went wrong on standard error.
 * @returns the exit code
 */
export function report(error: unknown): number {
  // Commander has printed its own line already; asking for help is no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCodes.usage;
  if (error instanceof CommandError) {
    process.stderr.write(`labgear: ${error.message}\n`);
    return exitCodes[error.code];
  }
  if (error instanceof Error && "code" in error) {
    process.stderr.write(`labgear: ${error.message}\n`);
    return exitCodes[codeByName[error.name] ?? "failure"];
  }
  // Nobody foresaw this one: the stack is for a bug report.
  process.stderr.write(`labgear: ${error instanceof Error ? error.stack : String(error)}\n`);
  return exitCodes.failure;
}
