/** The nodes of a YAML document: finds what no configuration should contain, and where an option is written. */
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  visit,
  type YAMLMap,
} from "yaml";
import { printable, shown } from "#/lib/text.ts";

export const tooDeep = "is nested too deeply";
export const tooManyAliases = "has too many aliases (*NAME): write the values out";
const badMerge = "has a merge key (<<) whose value is neither a mapping nor a list of mappings";

/** The maxDepth option is on the sixth level: jobs.NAME.steps[N].put.from. */
const maxDepth = 32;

const plainTags = new Set(
  ["str", "int", "float", "bool", "null", "map", "seq", "merge"].map((name) => `tag:yaml.org,2002:${name}`),
);

/** A key that its mapping already has; offsets are in characters. */
export interface Duplicate {
  readonly offset: number;
  readonly first: number;
  readonly key: string;
}

/** Something that prevents turning the document into data. */
export interface Unsound {
  readonly offset: number;
  readonly message: string;
}

/** Visits each node once, without following aliases. */
export function inspect(
  document: Document,
  maxAliases: number,
): { duplicates: Duplicate[]; unsound: Unsound[] } {
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
export function locator(document: Document): (path: readonly string[]) => number | undefined {
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
export function optionAt(document: Document, offset: number): number | undefined {
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
