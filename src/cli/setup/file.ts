/** Writes what `labgear setup` found out: a drop-in, and the sample where there is no configuration yet. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { stringify } from "yaml";
import { loadConfig } from "#/config/load.ts";
import type { Config } from "#/config/model.ts";
import type { FoundPort } from "#/devices/discovery/discovery.ts";
import { scanYaml } from "#/devices/discovery/scan.ts";
import { CommandError } from "../exit.ts";

/** Absent or empty means the default, which is not written. */
export interface Answers {
  readonly name?: string;
  readonly servers: readonly string[];
  readonly classes: readonly string[];
  readonly executors?: number;
  readonly boards: readonly FoundPort[];
}

/**
 * The drop-in as YAML.
 * @internal
 */
export function setupYaml({ name, servers, classes, executors, boards }: Answers): string {
  const host = { ...(classes.length > 0 && { classes }), ...(executors !== undefined && { executors }) };
  const settings = {
    ...(name !== undefined && { name }),
    ...(servers.length > 0 && { servers }),
    ...(Object.keys(host).length > 0 && { host }),
  };
  const parts = [
    "# Written by labgear setup; setup --force overwrites it. Put jobs into labgear.yaml or into another file here.\n",
    ...(Object.keys(settings).length > 0 ? [stringify(settings)] : []),
    ...(boards.length > 0 ? [scanYaml(boards)] : []),
  ];
  return parts.join("");
}

/** The drop-in's path for a configuration file. */
export const setupFile = (config: string): string => join(dirname(config), "conf.d/setup.yaml");

/**
 * Writes the drop-in, and the sample where there is no configuration. If the result is invalid, both are undone.
 * @param config the configuration file
 * @param sample the configuration to write where there is none
 * @throws CommandError usage when the drop-in exists and may not be replaced; ConfigError; the system's error
 */
export async function writeSetup(
  answers: Answers,
  { config, sample, force }: { config: string; sample: () => string; force: boolean },
): Promise<Config> {
  const file = setupFile(config);
  const former = existsSync(file) ? readFileSync(file) : undefined;
  if (former && !force) {
    throw new CommandError("usage", `${file} exists already: edit it, or overwrite it with --force`);
  }
  const isNew = !existsSync(config);
  mkdirSync(dirname(file), { recursive: true });
  if (isNew) write(config, sample());
  write(file, setupYaml(answers));
  try {
    return await loadConfig({ file: config });
  } catch (error) {
    if (former) write(file, former);
    else rmSync(file);
    if (isNew) rmSync(config);
    throw error;
  }
}

/** By rename: the agent may read the file at any moment. */
function write(file: string, content: string | Buffer): void {
  writeFileSync(`${file}.new`, content, { mode: 0o644 });
  renameSync(`${file}.new`, file);
}
