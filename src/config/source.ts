/** One YAML file: its data, what is wrong with it as YAML, and where each option is written. */
import { type Document, LineCounter, parseDocument } from "yaml";
import { printable, shown } from "#/lib/text.ts";
import type { Path, Problem } from "./errors.ts";
import { inspect, locator, optionAt, tooDeep, tooManyAliases } from "./nodes.ts";

export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface Source {
  readonly file: string;
  /** Plain data; an empty mapping when the file is empty or can't be read as a mapping. */
  readonly value: Readonly<Record<string, unknown>>;
  /** Broken YAML, and keys that are given twice. */
  readonly problems: readonly Problem[];
  /** From this line on, the file may mean something else than it seems to; undefined: it is valid YAML. */
  readonly brokenFrom: number | undefined;
  /** @returns where the option is written: its key, or its entry in a list; undefined when the file doesn't have it */
  readonly locate: (path: Path) => Position | undefined;
}

/** Without a limit, aliases of aliases could turn a few lines into gigabytes. */
const maxAliases = 500;
/** One typo can break every line after it, and a line in several ways. */
const maxErrors = 200;
const maxSyntaxProblems = 10;

/** @param text what is in the file, YAML 1.2 (so `on`, `off`, `yes` and `no` are text); merge keys (<<) work */
export function parseSource(file: string, text: string): Source {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    version: "1.2",
    schema: "core",
    merge: true,
    stringKeys: true,
    // The library's own search for duplicates is quadratic in the number of keys; nodes.ts has ours.
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: "error",
  });
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { file, line, column: col };
  };
  // The library reports a missing quote at the end of the file; the option with the opening quote says more.
  const brokenOption = (offset: number): number => at(optionAt(document, offset) ?? offset).line;
  const errors = [...document.errors, ...document.warnings].slice(0, maxErrors).map((error) => {
    const [offset] = error.pos;
    const from = brokenOption(offset);
    const isFar = error.code === "MISSING_CHAR" && from < at(offset).line;
    const begin = isFar ? ` (in the option that begins on line ${from})` : "";
    return { offset, message: syntaxMessage(error) + begin };
  });
  const offsetOf = locator(document);
  const { duplicates, unsound } = inspect(document, maxAliases);
  const broken = [...errors, ...unsound];
  // With keys that aren't text, or endless aliases, there is no data.
  const isUsable = unsound.length === 0 && document.errors.every(({ code }) => code !== "NON_STRING_KEY");
  const value = isUsable ? toData(document) : {};
  if (typeof value === "string") broken.push({ offset: document.contents?.range?.[0] ?? 0, message: value });
  return {
    file,
    value: typeof value === "string" ? {} : value,
    problems: [
      ...onePerLine(broken.map(({ offset, message }) => ({ ...at(offset), key: "", message }))),
      ...duplicates.map(({ offset, first, key }) => ({
        ...at(offset),
        key,
        message: `is given twice, first on line ${at(first).line}`,
      })),
    ],
    brokenFrom:
      broken.length === 0 ? undefined : Math.min(...broken.map(({ offset }) => brokenOption(offset))),
    locate: (path) => {
      const offset = offsetOf(path);
      return offset === undefined ? undefined : at(offset);
    },
  };
}

/** The file's options as plain data, or the message for what is wrong with them. */
function toData(document: Document): Record<string, unknown> | string {
  try {
    const value: unknown = document.toJS({ maxAliasCount: maxAliases }) ?? {};
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
    return document.errors.length > 0 ? {} : `expected options (KEY: VALUE), found ${shown(value)}`;
  } catch (error) {
    // maxAliasCount is exceeded: aliases of aliases of aliases.
    if (error instanceof ReferenceError) return tooManyAliases;
    throw error;
  }
}

function syntaxMessage(error: { code: string; message: string }): string {
  if (error.code === "MULTIPLE_DOCS") return "expected a single document: remove the line ---";
  if (error.code === "RESOURCE_EXHAUSTION") return tooDeep;
  if (error.code === "NON_STRING_KEY") return "a key must be plain text";
  if (error.code === "TAG_RESOLVE_FAILED") return `${printable(error.message)}: remove the tag`;
  return `is not valid YAML: ${printable(error.message.split("\n")[0] ?? "")}`;
}

/** One typo causes many errors on its line, and some on the lines after it. */
function onePerLine(problems: readonly Problem[]): Problem[] {
  const first = new Map<number, Problem>();
  for (const problem of problems) if (!first.has(problem.line)) first.set(problem.line, problem);
  return [...first.values()].slice(0, maxSyntaxProblems);
}
