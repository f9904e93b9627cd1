/** Brings a build's results here: into a folder, and its test reports into a file. */
import { basename, dirname } from "node:path";
import { ExchangeError } from "#/exchange/errors.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { isSystemError } from "#/lib/errors.ts";
import { formatSize } from "#/lib/units.ts";
import { CommandError } from "../exit.ts";
import { ResultFolder } from "./folder.ts";
import type { BuildResults, Saved } from "./results.ts";

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
  /** Files that have no digest yet, because their build runs and they may grow. */
  readonly unchecked: number;
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
  const artifacts = await results.artifacts();
  const folder = new ResultFolder(
    path,
    artifacts.map((artifact) => `artifacts/${artifact.path}`),
  );
  const files: Saved[] = [];
  for (const [part, name] of Object.entries(parts)) {
    if (isWanted(part)) files.push(...(await saved(results, part, folder, name)));
  }
  for (const { path: artifact, size, sha256 } of artifacts) {
    if (!isWanted(artifact)) continue;
    try {
      const name = `artifacts/${artifact}`;
      files.push(await results.save(name, folder, name, { size, ...(sha256 !== undefined && { sha256 }) }));
    } catch (error) {
      // A name that means something else here costs one file, not all.
      if (!(error instanceof CommandError) || error.code !== "usage") throw error;
      report(error.message);
    }
  }
  return {
    files: files.length,
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    unchecked: files.filter(({ isChecked }) => !isChecked).length,
  };
}

/** @returns false: the build has no test reports */
export async function collectJunit(file: string, results: BuildResults): Promise<boolean> {
  const files = await saved(results, "junit", new ResultFolder(dirname(file)), basename(file));
  return files.length > 0;
}

async function saved(
  results: BuildResults,
  part: string,
  folder: ResultFolder,
  name: string,
): Promise<Saved[]> {
  try {
    return [await results.save(part, folder, name)];
  } catch (error) {
    if (error instanceof ExchangeError && error.code === "not-found") return [];
    throw error;
  }
}

export function describeCollected({ files, bytes, unchecked }: Collected, path: string): string {
  const count = (many: number) => (many === 1 ? "1 file" : `${many} files`);
  const digests =
    unchecked === 0
      ? "digests checked"
      : `as of now: the build runs, so there is no digest yet for ${unchecked === files ? "any of them" : count(unchecked)}`;
  return `${count(files)} in ${path}, ${formatSize(bytes)}, ${digests}`;
}

/** Why results can't be had or written, in a line; anything else is thrown. */
export function whyNot(error: unknown): string {
  const isForeseen = [ExchangeError, GearmanError, CommandError].some((kind) => error instanceof kind);
  if (isForeseen || isSystemError(error)) return (error as Error).message;
  throw error;
}
