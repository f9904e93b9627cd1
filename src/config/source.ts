/** One YAML file: its data, what is wrong with it as YAML, and where each option is written. */
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
  type YAMLMap,
} from "yaml";
import { printable, shown } from "#/lib/text.ts";
import type { Path, Problem } from "./errors.ts";

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

const tooDeep = "is nested too deeply";
const tooManyAliases = "has too many aliases (*NAME): write the values out";
const badMerge = "has a merge key (<<) whose value is neither a mapping nor a list of mappings";

/** The deepest option is on the sixth level: jobs.NAME.steps[N].put.from. */
const maxDepth = 32;

const plainTags = new Set(
  ["str", "int", "float", "bool", "null", "map", "seq", "merge"].map((name) => `tag:yaml.org,2002:${name}`),
);

/** @param text what is in the file, YAML 1.2 (so `on`, `off`, `yes` and `no` are text); merge keys (<<) work */
export function parseSource(file: string, text: string): Source {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    version: "1.2",
    schema: "core",
    merge: true,
    stringKeys: true,
    // The library's own search for duplicates is quadratic in the number of keys; duplicatesOf() is linear.
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
  const { duplicates, unsound } = inspect(document);
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

/** A key that its mapping already has; offsets are in characters. */
interface Duplicate {
  readonly offset: number;
  readonly first: number;
  readonly key: string;
}

/** Something that prevents turning the document into data. */
interface Unsound {
  readonly offset: number;
  readonly message: string;
}

/** Visits each node once, without following aliases. */
function inspect(document: Document): { duplicates: Duplicate[]; unsound: Unsound[] } {
  const duplicates: Duplicate[] = [];
  const unsound: Unsound[] = [];
  const anchors = new Map<string, Node>();
  let aliases = 0;
  visit(document, (_, node, path) => {
    if (!isNode(node)) return undefined;
    const report = (message: string): symbol => {
      unsound.push({ offset: start(node), message });
      return visit.BREAK;
    };
    // A pair and its mapping are two entries of the path.
    if (path.length > 2 * maxDepth) return report(tooDeep);
    if (isAlias(node)) {
      aliases += 1;
      const message =
        aliases > maxAliases ? tooManyAliases : aliasProblem(node, anchors.get(node.source), path);
      return message === undefined ? undefined : report(message);
    }
    if (node.anchor !== undefined) anchors.set(node.anchor, node);
    if (node.tag !== undefined && !plainTags.has(node.tag))
      return report(`the tag ${shown(node.tag)} is not supported`);
    if (!isMap(node)) return undefined;
    duplicates.push(...duplicatesOf(node, path));
    return node.items.every((pair) => mergesMappings(pair, anchors)) ? undefined : report(badMerge);
  });
  return { duplicates, unsound };
}

function aliasProblem(alias: Alias, target: Node | undefined, path: readonly unknown[]): string | undefined {
  const name = printable(alias.source);
  if (!target) return `*${name} refers to nothing: &${name} must come before it`;
  return path.includes(target) ? `*${name} is inside the value that it refers to` : undefined;
}

/** For other merge keys, toJS() would throw without a position. */
function mergesMappings({ key, value }: Pair, anchors: ReadonlyMap<string, Node>): boolean {
  if (keyText(key) !== "<<") return true;
  const target = (node: unknown): unknown => (isAlias(node) ? anchors.get(node.source) : node);
  const merged = target(value);
  return (isSeq(merged) ? merged.items : [merged]).every((source) => isMap(target(source)));
}

function duplicatesOf(map: YAMLMap, path: readonly unknown[]): Duplicate[] {
  const seen = new Map<string, number>();
  const duplicates: Duplicate[] = [];
  const outer = path.filter((step) => isPair(step)).map(({ key }) => keyText(key));
  for (const { key } of map.items) {
    const name = keyText(key);
    const first = seen.get(name);
    if (first === undefined) seen.set(name, start(key));
    else if (name !== "<<") {
      duplicates.push({ offset: start(key), first, key: printable([...outer, name].join(".")) });
    }
  }
  return duplicates;
}

/**
 * @returns a function from a path to the offset of the option's key, or of the list's entry, where it is written: it follows
 *   aliases and merge keys. Undefined: the document doesn't have the option
 */
function locator(document: Document): (path: readonly string[]) => number | undefined {
  // A file full of mistakes looks up every key.
  const indexes = new WeakMap<YAMLMap, Map<string, Pair>>();
  const pairOf = (map: YAMLMap, name: string, hops = 0): Pair | undefined => {
    const index = indexes.get(map) ?? new Map(map.items.map((pair) => [keyText(pair.key), pair]));
    indexes.set(map, index);
    const own = index.get(name);
    const merge = index.get("<<");
    if (own || !merge || hops > maxDepth) return own;
    const merged = resolved(document, merge.value);
    for (const entry of isSeq(merged) ? merged.items : [merged]) {
      const source = resolved(document, entry);
      const found = isMap(source) ? pairOf(source, name, hops + 1) : undefined;
      if (found) return found;
    }
    return undefined;
  };
  return (path) => {
    let node = resolved(document, document.contents);
    let offset = start(node);
    for (const part of path) {
      let next: unknown;
      if (isMap(node)) {
        const pair = pairOf(node, part);
        if (!pair) return undefined;
        offset = start(pair.key);
        next = pair.value;
      } else if (isSeq(node)) {
        next = node.items[Number(part)];
        if (next === undefined) return undefined;
        offset = start(next);
      } else return undefined;
      node = resolved(document, next);
    }
    return offset;
  };
}

/** @returns the offset of the last top-level option that begins at or before an offset */
function optionAt(document: Document, offset: number): number | undefined {
  const keys = isMap(document.contents) ? document.contents.items.map(({ key }) => start(key)) : [];
  return keys.findLast((key) => key <= offset);
}

function resolved(document: Document, node: unknown): Node | undefined {
  if (isAlias(node)) return node.resolve(document);
  return isNode(node) ? node : undefined;
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : "";
}

function start(node: unknown): number {
  return isNode(node) ? (node.range?.[0] ?? 0) : 0;
}
