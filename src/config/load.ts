/** Loads the configuration: the file and its drop-ins, everything checked, every mistake named with its line. */
import { hostname } from "node:os";
import { resolve } from "node:path";
import { ConfigError, formatProblem, type Problem } from "./errors.ts";
import { explain, type Finding } from "./explain.ts";
import { findFiles } from "./files.ts";
import { formatPath, locate } from "./merge.ts";
import type { Config } from "./model.ts";
import { type Reading, readThroughConf } from "./reading.ts";
import { fileResolver, resolveConfig } from "./resolve.ts";
import type { ConfigDocument } from "./schema.ts";
import { checkSemantics } from "./semantics.ts";

/** Where the configuration is when nobody says otherwise. */
export const defaultConfigFile = "/etc/labgear/labgear.yaml";

/** More lines than this help nobody. */
const mostProblems = 100;

export interface LoadOptions {
  /** The file; default: /etc/labgear/labgear.yaml. Its drop-ins are conf.d/*.yaml beside it, wherever it is. */
  readonly file?: string;
  /**
   * The file may be missing, and the defaults hold: no jobs, the embedded server. For commands that work without any;
   * the agent itself wants one, as with a mistyped path it would otherwise run happily without its jobs.
   */
  readonly optional?: boolean;
}

/**
 * Reads the files (never writes them), merges the drop-ins over the main file in the order of their names, and
 * checks the whole. Called again for a reload: what it returned before stays as it is.
 * @throws ConfigError INVALID with all mistakes, or UNREADABLE
 */
export async function loadConfig({
  file = defaultConfigFile,
  optional = false,
}: LoadOptions = {}): Promise<Config> {
  const main = resolve(file);
  const [first, ...others] = findFiles(main, optional);
  const reading =
    first === undefined ? { sources: [], data: {}, errors: [] } : readThroughConf([first, ...others]);
  const { sources, data } = reading;
  const hostName = hostname();
  const resolveFile = fileResolver((path) => locate(sources, path)?.file ?? main);
  const isBroken = sources.some(({ brokenFrom }) => brokenFrom !== undefined);
  const problems = [
    ...sources.flatMap((source) => source.problems),
    ...schemaProblems(reading, isBroken, main),
    ...(isBroken
      ? []
      : checkSemantics(data, hostName, resolveFile).map((finding) => place(reading, finding, main))),
  ];
  if (problems.length > 0) throw ConfigError.invalid(inOrder(problems, [first ?? main, ...others]));
  return resolveConfig(
    data as ConfigDocument,
    [first, ...others].filter((name) => name !== undefined),
    hostName,
    resolveFile,
  );
}

/** In a file with broken YAML, what is said after the break or seems to be missing is most likely the break's work. */
function schemaProblems(reading: Reading, isBroken: boolean, main: string): Problem[] {
  const breaks = new Map(reading.sources.map(({ file, brokenFrom }) => [file, brokenFrom ?? Infinity]));
  return reading.errors
    .filter(({ keyword }) => !(isBroken && keyword === "required"))
    .map(explain)
    .filter((finding) => finding !== undefined)
    .map((finding) => place(reading, finding, main))
    .filter(({ file, line }) => line < (breaks.get(file) ?? Infinity));
}

function place({ sources, data }: Reading, { path, message }: Finding, main: string): Problem {
  const position = locate(sources, path) ?? { file: main, line: 1, column: 1 };
  return { ...position, key: formatPath(data, path), message };
}

/** By file, line and column; each mistake once, and not more than can be read. */
function inOrder(problems: readonly Problem[], files: readonly string[]): Problem[] {
  const unique = [...new Map(problems.map((problem) => [formatProblem(problem), problem])).values()];
  const sorted = unique.sort(
    (a, b) =>
      files.indexOf(a.file) - files.indexOf(b.file) || a.line - b.line || (a.column ?? 0) - (b.column ?? 0),
  );
  const [next] = sorted.slice(mostProblems);
  if (!next) return sorted;
  const message = `and ${sorted.length - mostProblems} more mistakes from here on`;
  return [...sorted.slice(0, mostProblems), { ...next, key: "", message }];
}
