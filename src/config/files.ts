/** Which files make up the configuration, and whether each of them can be read. */
import { accessSync, constants, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { formatSize } from "#/lib/units.ts";
import { ConfigError } from "./errors.ts";

/** Largest file that is read, in bytes: a configuration of a thousand jobs takes some 300 KiB. */
const largestFile = 1024 * 1024;

/**
 * @param main the absolute path of the configuration file
 * @param optional it may be missing
 * @returns the file, then the drop-ins (*.yaml in the conf.d beside it, hidden files left out) by the order of their names' code units
 * @throws ConfigError UNREADABLE for one that is missing, is no file, is too large, or may not be read
 */
export function findFiles(main: string, optional: boolean): string[] {
  const mainFiles = exists(main) ? [main] : [];
  if (mainFiles.length === 0 && !optional) {
    throw new ConfigError(
      "UNREADABLE",
      `${main} is not there: write it, or name another file with --config FILE`,
    );
  }
  const folder = join(dirname(main), "conf.d");
  const files = [...mainFiles, ...dropIns(folder)];
  for (const file of files) checkFile(file);
  return files;
}

function exists(file: string): boolean {
  try {
    return statSync(file, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    throw unreadable(file, error);
  }
}

function dropIns(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith(".yaml") && !name.startsWith("."))
      .sort()
      .map((name) => join(folder, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw unreadable(folder, error);
  }
}

/** A pipe or a device would be read without an end. */
function checkFile(file: string): void {
  try {
    const found = statSync(file);
    if (!found.isFile())
      throw new ConfigError("UNREADABLE", `${file} is not a file: give the path of a YAML file`);
    if (found.size > largestFile) {
      const sizes = `${formatSize(found.size)}, and ${formatSize(largestFile)} is the most`;
      throw new ConfigError("UNREADABLE", `${file} is too large for a configuration file: it has ${sizes}`);
    }
    accessSync(file, constants.R_OK);
  } catch (error) {
    throw error instanceof ConfigError ? error : unreadable(file, error);
  }
}

/** @returns the error for a file that the system doesn't let us read */
export function unreadable(file: string, cause: unknown): ConfigError {
  const { code } = cause as NodeJS.ErrnoException;
  const reason =
    code === "EACCES" || code === "EPERM"
      ? "may not be read by this user: run labgear as another one, or change the file's owner or mode"
      : `can't be read: ${(cause as Error).message}`;
  return new ConfigError("UNREADABLE", `${file} ${reason}`, { cause });
}
