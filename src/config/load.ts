/** Loads the configuration: the file and its drop-ins, everything checked, every mistake reported with its line. */
import { accessSync, constants, readdirSync, readFileSync, statSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { ErrorObject, SchemaObject } from "ajv";
import { formatSize } from "#/lib/units.ts";
import { explain, readThroughConf } from "./conf.ts";
import { ConfigError, type Finding, formatProblem, type Problem } from "./errors.ts";
import { formatPath, locate, type Mapping, mergeSources } from "./merge.ts";
import type { Config } from "./model.ts";
import type { ResolveFile } from "./named-files.ts";
import { type ConfigDocument, checkConfig, configSchema, resolveConfig } from "./schema.ts";
import { parseSource, type Source } from "./source.ts";

/** The configuration's file unless another is named. */
export const defaultConfigFile = "/etc/labgear/labgear.yaml";

/** A configuration of a thousand jobs takes some 300 KiB. */
const maxFileBytes = 1024 * 1024;

const maxProblems = 100;

export interface LoadOptions {
  /** Default: /etc/labgear/labgear.yaml. The drop-ins are conf.d/*.yaml beside it. */
  readonly file?: string;
  /**
   * Whether the file may be missing, for commands that work with the defaults. The agent requires it: with a
   * mistyped path it would otherwise run without its jobs.
   */
  readonly optional?: boolean;
}

/** What the files say. */
interface Reading {
  readonly sources: readonly Source[];
  /** All sources merged. */
  readonly data: Mapping;
  /** Everything that the schema refuses in the data. */
  readonly errors: readonly ErrorObject[];
}

/**
 * Reads the files (and never writes them), merges the drop-ins over the main file in the order of their names, and
 * checks the result. A reload calls it again; what it returned before doesn't change.
 * @throws ConfigError INVALID with all mistakes, or UNREADABLE
 */
export async function loadConfig({
  file = defaultConfigFile,
  optional = false,
}: LoadOptions = {}): Promise<Config> {
  const main = resolve(file);
  const files = findFiles(main, optional);
  const hostName = hostname();
  return readChecked(main, files, {
    schema: configSchema,
    check: (data, resolveFile) => checkConfig(data, hostName, resolveFile),
    resolve: (data, resolveFile) => resolveConfig(data as ConfigDocument, files, hostName, resolveFile),
  });
}

/** What a kind of configuration file may say, and what becomes of it. */
export interface ConfigKind<C> {
  readonly schema: SchemaObject;
  /** Finds what the schema can't express, also in data that it refuses. */
  readonly check: (data: Mapping, resolveFile: ResolveFile) => Finding[];
  /** Called with data that has passed both. */
  readonly resolve: (data: Mapping, resolveFile: ResolveFile) => C;
}

/**
 * Loads a file of another kind, without drop-ins.
 * @throws ConfigError INVALID with all mistakes, or UNREADABLE
 */
export function loadFile<C>(file: string, kind: ConfigKind<C>): C {
  const main = resolve(file);
  checkExists(main);
  checkFile(main);
  return readChecked(main, [main], kind);
}

function readChecked<C>(main: string, files: readonly string[], kind: ConfigKind<C>): C {
  const reading = readFiles(files, kind.schema);
  const { sources, data } = reading;
  const resolveFile: ResolveFile = (path, name) =>
    resolve(dirname(locate(sources, path)?.file ?? main), name);
  const isBroken = sources.some(({ brokenFrom }) => brokenFrom !== undefined);
  const problems = [
    ...sources.flatMap((source) => source.problems),
    ...schemaProblems(reading, isBroken, main),
    ...(isBroken ? [] : kind.check(data, resolveFile).map((finding) => place(reading, finding, main))),
  ];
  if (problems.length > 0) throw ConfigError.invalid(inOrder(problems, files));
  return kind.resolve(data, resolveFile);
}

/**
 * @returns the file, then the drop-ins in the order of their names' code units
 * @throws ConfigError UNREADABLE
 */
function findFiles(main: string, optional: boolean): string[] {
  const isThere = exists(main);
  if (!isThere && !optional) checkExists(main);
  const files = [...(isThere ? [main] : []), ...dropIns(join(dirname(main), "conf.d"))];
  for (const file of files) checkFile(file);
  return files;
}

function exists(file: string): boolean {
  return orUnreadable(file, () => statSync(file, { throwIfNoEntry: false }) !== undefined);
}

function checkExists(file: string): void {
  if (exists(file)) return;
  const text = `${file} does not exist: create it, or name another file with --config FILE`;
  throw new ConfigError("UNREADABLE", text);
}

/** Hidden files are left out. */
function dropIns(folder: string): string[] {
  return orUnreadable(folder, () => {
    if (!statSync(folder, { throwIfNoEntry: false })) return [];
    return readdirSync(folder)
      .filter((name) => name.endsWith(".yaml") && !name.startsWith("."))
      .sort()
      .map((name) => join(folder, name));
  });
}

/** Reading a pipe or a device might never end. */
function checkFile(file: string): void {
  const found = orUnreadable(file, () => statSync(file));
  if (!found.isFile()) throw new ConfigError("UNREADABLE", `${file} is not a file: name a YAML file`);
  if (found.size > maxFileBytes) {
    const sizes = `it has ${formatSize(found.size)}, and the limit is ${formatSize(maxFileBytes)}`;
    throw new ConfigError("UNREADABLE", `${file} is too large for a configuration file: ${sizes}`);
  }
  orUnreadable(file, () => accessSync(file, constants.R_OK));
}

function orUnreadable<T>(file: string, look: () => T): T {
  try {
    return look();
  } catch (cause) {
    const { code, syscall } = cause as NodeJS.ErrnoException;
    if (syscall === undefined) throw cause;
    const reason =
      code === "EACCES" || code === "EPERM"
        ? `can't be read by ${thisUser()}: run labgear as another user, or change the file's owner or mode`
        : `can't be read: ${(cause as Error).message}`;
    throw new ConfigError("UNREADABLE", `${file} ${reason}`, { cause });
  }
}

function thisUser(): string {
  try {
    return `the user ${userInfo().username}`;
  } catch {
    return "this user";
  }
}

/** All files are one document for conf: it opens the first, and `parse` adds the others. */
function readFiles([first, ...others]: readonly string[], schema: SchemaObject): Reading {
  if (first === undefined) return { sources: [], data: {}, errors: [] };
  let sources: readonly Source[] = [];
  let data: Mapping = {};
  const parse = (text: string): Mapping => {
    const more = others.map((file) =>
      parseSource(
        file,
        orUnreadable(file, () => readFileSync(file, "utf8")),
      ),
    );
    sources = [parseSource(first, text), ...more];
    data = mergeSources(sources);
    return data;
  };
  const errors = orUnreadable(first, () => readThroughConf(first, schema, parse));
  return { sources, data, errors };
}

/** In a file with broken YAML, mistakes after the break, and options that seem to be missing, are most likely caused by it. */
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

/** By file, line and column; each mistake once, and maxProblems at most. */
function inOrder(problems: readonly Problem[], files: readonly string[]): Problem[] {
  const unique = [...new Map(problems.map((problem) => [formatProblem(problem), problem])).values()];
  const sorted = unique.sort(
    (a, b) =>
      files.indexOf(a.file) - files.indexOf(b.file) || a.line - b.line || (a.column ?? 0) - (b.column ?? 0),
  );
  const [next] = sorted.slice(maxProblems);
  if (!next) return sorted;
  const message = `and ${sorted.length - maxProblems} more mistakes from here on`;
  return [...sorted.slice(0, maxProblems), { ...next, key: "", message }];
}
