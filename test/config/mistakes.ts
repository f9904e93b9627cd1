/** What the loader says of files with mistakes in them. */
import assert from "node:assert/strict";
import { ConfigError, type Problem } from "#/config/errors.ts";
import { loadConfig } from "#/config/load.ts";
import { folder } from "./folder.ts";

/** @returns the problems of files that must have some, each as "FILE:LINE: KEY: MESSAGE" with the folder's path cut off */
export async function mistakes(files: string | Record<string, string>): Promise<string[]> {
  using dir = folder(typeof files === "string" ? { "labgear.yaml": files } : files);
  try {
    await loadConfig({ file: dir.at("labgear.yaml") });
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.code, "INVALID");
    assert.equal(error.message.split("\n").length, error.problems.length);
    for (const { line, column } of error.problems as Problem[]) assert.ok(line >= 1 && (column ?? 1) >= 1);
    return error.message.replaceAll(`${dir.path}/`, "").split("\n");
  }
  assert.fail("the files were taken");
}

/** @returns what is wrong with an otherwise good job, as "KEY: MESSAGE", keys from below the job */
export async function jobMistakes(
  job: string,
  devices: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  const found = await mistakes(`jobs: {j: ${job}}\ndevices: ${deviceOptions(devices)}`);
  return found.map((line) => line.replace(/^\S+ jobs\.j(?:\.|: )/, ""));
}

/** @returns what is wrong with the last one of some devices, as "KEY: MESSAGE", keys from below the device */
export async function deviceMistakes(
  devices: Readonly<Record<string, string>>,
  more = "",
): Promise<string[]> {
  const found = await mistakes(`devices: ${deviceOptions(devices)}\n${more}`);
  const last = Object.keys(devices).at(-1) ?? "";
  return found.map((line) =>
    line.replace(/^\S+ /, "").replace(new RegExp(`^devices\\.${last}(?:\\.|: )`), ""),
  );
}

function deviceOptions(devices: Readonly<Record<string, string>>): string {
  return `{${Object.entries(devices)
    .map(([name, options]) => `${name}: ${options}`)
    .join(", ")}}`;
}
