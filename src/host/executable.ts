/** How this program runs: as the single executable, which contains files of its own, or as a script in Node. */
import { readFileSync } from "node:fs";

/** Node's module for single executables; only there it has assets. */
const sea = () => process.getBuiltinModule("node:sea");

export const isExecutable = (): boolean => sea().isSea();

/** The beginning of a command line that starts this program. The executable adds its built-in options by itself. */
export function ownProgram(): [string, ...string[]] {
  const { execPath, execArgv, argv } = process;
  return isExecutable() ? [execPath] : [execPath, ...execArgv, argv[1] ?? ""];
}

/** The command line that starts this program again with the same arguments. In the executable, Node puts its path into argv[1], too. */
export function ownCommandLine(): [string, ...string[]] {
  return [...ownProgram(), ...process.argv.slice(2)];
}

/** A file from the executable. @throws Node's error when there is none of that name */
export function carriedFile(name: string): Buffer {
  return Buffer.from(sea().getAsset(name));
}

/** The sample configuration, which explains every option. */
export function sampleConfig(): string {
  if (isExecutable()) return carriedFile("labgear.yaml").toString();
  return readFileSync(new URL("../../packaging/labgear.yaml", import.meta.url), "utf8");
}
