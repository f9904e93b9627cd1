/** What this program runs as: the single executable, which carries files of its own, or Node with a script. */
import { readFileSync } from "node:fs";

/** Node's own module for single executables; only in one of them does it have assets. */
const sea = () => process.getBuiltinModule("node:sea");

/** Whether this is the single executable. */
export const isExecutable = (): boolean => sea().isSea();

/** What starts this program: goes ahead of the arguments. The executable's built-in options are added by itself. */
export function ownProgram(): [string, ...string[]] {
  const { execPath, execArgv, argv } = process;
  return isExecutable() ? [execPath] : [execPath, ...execArgv, argv[1] ?? ""];
}

/** The command line that starts this program anew with the same arguments; Node has put its path in the second place. */
export function ownCommandLine(): [string, ...string[]] {
  return [...ownProgram(), ...process.argv.slice(2)];
}

/** A file that the executable carries. @throws when there is none of that name */
export function carriedFile(name: string): Buffer {
  return Buffer.from(sea().getAsset(name));
}

/** The sample configuration, every option of which is explained. */
export function sampleConfig(): string {
  if (isExecutable()) return carriedFile("labgear.yaml").toString();
  return readFileSync(new URL("../../packaging/labgear.yaml", import.meta.url), "utf8");
}
