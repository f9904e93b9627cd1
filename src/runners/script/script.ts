/** Writes a job's script and finds the command line that runs it. */
import { access, constants, rm, stat, writeFile } from "node:fs/promises";
import { RunnerError } from "../errors.ts";

/**
 * Writes the script with mode 0700 and returns the command line. "#!" is followed here as the kernel would, execve(2):
 * so it also works on file systems mounted noexec, and an interpreter that isn't there is known before the start.
 *
 * @throws RunnerError SCRIPT, INTERPRETER
 */
export async function prepareScript(script: string, file: string): Promise<[string, ...string[]]> {
  try {
    // Never through a link that a job has put there.
    await rm(file, { force: true });
    await writeFile(file, script, { mode: 0o700, flag: "wx" });
  } catch (error) {
    throw new RunnerError("SCRIPT", `the script can't be written: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const line = /^#![ \t]*([^\n]*)/.exec(script)?.[1]?.trim();
  if (line === undefined) return ["/bin/sh", "-e", file];
  const [, interpreter = "", argument] = /^(\S*)[ \t]*(.*)$/.exec(line) ?? [];
  await checkInterpreter(interpreter);
  return argument ? [interpreter, argument, file] : [interpreter, file];
}

async function checkInterpreter(path: string): Promise<void> {
  const fix = "install it on this box, or mend the first line of the job's script";
  if (!path.startsWith("/")) {
    throw new RunnerError("INTERPRETER", `the script's interpreter "${path}" is no absolute path; ${fix}`);
  }
  try {
    await access(path, constants.X_OK);
    if ((await stat(path)).isFile()) return;
  } catch (error) {
    throw new RunnerError(
      "INTERPRETER",
      `the script's interpreter can't be run: ${(error as Error).message}; ${fix}`,
      {
        cause: error,
      },
    );
  }
  throw new RunnerError("INTERPRETER", `the script's interpreter ${path} is no program; ${fix}`);
}
