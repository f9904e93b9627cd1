/** The files that the configuration names: certificates, keys, passwords and tokens. They must exist and be readable. */
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { maxSecretBytes, secretProblem, secretTooLong } from "#/lib/environment.ts";
import { shown } from "#/lib/text.ts";
import type { Finding, Path } from "./errors.ts";

/** @returns the absolute path of a file that an option names, relative to the folder of the file that has the option */
export type ResolveFile = (path: Path, name: string) => string;

/** A longer file is unlikely to be a password. */
const maxPasswordBytes = 4096;

/** @param name the option's value, as the files have it */
export function checkFile(path: Path, name: unknown, resolveFile: ResolveFile): Finding[] {
  return findings(path, name, resolveFile, fileProblem);
}

/** The same for a file with a password or a token. */
export function checkPassword(path: Path, name: unknown, resolveFile: ResolveFile): Finding[] {
  return findings(path, name, resolveFile, passwordProblem);
}

/**
 * The same for a file with a secret of a job.
 * @param isVariable builds get it as a variable
 */
export function checkSecret(
  path: Path,
  name: unknown,
  resolveFile: ResolveFile,
  isVariable: boolean,
): Finding[] {
  const problem = (file: string) => {
    const wrong = fileProblem(file);
    if (wrong !== undefined) return wrong;
    if (statSync(file).size > maxSecretBytes) return secretTooLong;
    return secretProblem(readFileSync(file), isVariable);
  };
  return findings(path, name, resolveFile, problem);
}

function findings(
  path: Path,
  name: unknown,
  resolveFile: ResolveFile,
  problem: (file: string) => string | undefined,
): Finding[] {
  if (typeof name !== "string" || name.trim() === "" || name.includes("\0")) return [];
  const file = resolveFile(path, name);
  const found = problem(file);
  return found === undefined ? [] : [{ path, message: `${shown(file)} ${found}` }];
}

function fileProblem(file: string): string | undefined {
  try {
    if (!statSync(file).isFile()) return "is not a file";
    accessSync(file, constants.R_OK);
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "ENOENT"
      ? "does not exist"
      : `can't be read (${code}): make it readable for the user that runs labgear`;
  }
}

/** An empty password would let everybody in. */
function passwordProblem(file: string): string | undefined {
  const problem = fileProblem(file);
  if (problem !== undefined) return problem;
  if (statSync(file).size > maxPasswordBytes)
    return `is longer than ${maxPasswordBytes} bytes: it should contain one line`;
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  if (lines[0]?.trim() === "")
    return "begins with an empty line: the first line must be the password or the token";
  return lines.length > 1
    ? "has more than one line: it must contain nothing but the password or the token"
    : undefined;
}
