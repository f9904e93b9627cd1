/** Brings a build's results here: into a folder, and its test reports into a file. */
import { basename, dirname } from "node:path";
import { ExchangeError } from "#/exchange/errors.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { isSystemError } from "#/lib/errors.ts";
import { formatSize } from "#/lib/units.ts";
import { CommandError } from "../exit.ts";
import { ResultFolder } from "./folder.ts";
import type { BuildResults } from "./results.ts";

/** The parts of a build that aren't artifacts, as its folder on the box names them. */
const parts = {
  record: "build.json",
  console: "console.log",
  junit: "junit.xml",
  serial: "serial.capture",
} as const;

export interface Collected {
  readonly files: number;
  readonly bytes: number;
}

/**
 * @param isWanted which artifacts and parts, by path; default: all
 * @param report called with what can't be written here
 * @throws CommandError failure when something isn't what its digest says; GearmanError, ExchangeError
 */
export async function collectInto(
  path: string,
  results: BuildResults,
  report: (text: string) => void,
  isWanted: (path: string) => boolean = () => true,
): Promise<Collected> {
  const folder = new ResultFolder(path);
  const sizes: number[] = [];
  for (const [part, name] of Object.entries(parts)) {
    if (isWanted(part)) sizes.push(...(await saved(results, part, folder, name)));
  }
  for (const { path: artifact, size, sha256 } of await results.artifacts()) {
    if (!isWanted(artifact)) continue;
    try {
      const name = `artifacts/${artifact}`;
      sizes.push(await results.save(name, folder, name, { size, ...(sha256 !== undefined && { sha256 }) }));
    } catch (error) {
      // A name that means something else here costs one file, not all.
      if (!(error instanceof CommandError) || error.code !== "usage") throw error;
      report(error.message);
    }
  }
  return { files: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}

/** @returns false: the build has no test reports */
export async function collectJunit(file: string, results: BuildResults): Promise<boolean> {
  const sizes = await saved(results, "junit", new ResultFolder(dirname(file)), basename(file));
  return sizes.length > 0;
}

async function saved(
  results: BuildResults,
  part: string,
  folder: ResultFolder,
  name: string,
): Promise<number[]> {
  try {
    return [await results.save(part, folder, name)];
  } catch (error) {
    if (error instanceof ExchangeError && error.code === "not-found") return [];
    throw error;
  }
}

export function describeCollected({ files, bytes }: Collected, path: string): string {
  return `${files} ${files === 1 ? "file" : "files"} in ${path}, ${formatSize(bytes)}, digests checked`;
}

/** Why results can't be had or written, in a line; anything else is thrown. */
export function whyNot(error: unknown): string {
  const isForeseen = [ExchangeError, GearmanError, CommandError].some((kind) => error instanceof kind);
  if (isForeseen || isSystemError(error)) return (error as Error).message;
  throw error;
}
