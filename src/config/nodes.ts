/** The nodes of a YAML document: what no configuration should have among them, and where an option is. */
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
  visit,
  type YAMLMap,
} from "yaml";
import { printable, shown } from "./text.ts";

export const tooDeep = "is nested too deeply";
export const tooManyAliases = "has too many aliases (*NAME): write out what they stand for";

/** The deepest option is four levels down. */
const deepest = 32;

const plainTags = new Set(
  ["str", "int", "float", "bool", "null", "map", "seq", "merge"].map((name) => `tag:yaml.org,2002:${name}`),
);

/** A key that its mapping has already; offsets are in characters. */
export interface Duplicate {
  readonly offset: number;
  readonly first: number;
  readonly key: string;
}

/** What keeps the document from being turned into data. */
export interface Unsound {
  readonly offset: number;
  readonly message: string;
}

/** Walks each node once, and follows no alias. */
export function inspect(
  document: Document,
  mostAliases: number,
): { duplicates: Duplicate[]; unsound: Unsound[] } {
  const duplicates: Duplicate[] = [];
  const unsound: Unsound[] = [];
  let aliases = 0;
  visit(document, (_, node, path) => {
    if (!isNode(node)) return undefined;
    const report = (message: string): symbol => {
      unsound.push({ offset: start(node), message });
      return visit.BREAK;
    };
    // A pair and its mapping are two steps of the path.
    if (path.length > 2 * deepest) return report(tooDeep);
    if (isAlias(node)) {
      // Looking for what an alias stands for walks the document, so their number is bounded first.
      aliases += 1;
      if (aliases > mostAliases) return report(tooManyAliases);
      const message = aliasProblem(document, node, path);
      return message === undefined ? undefined : report(message);
    }
    if (node.tag !== undefined && !plainTags.has(node.tag))
      return report(`the tag ${shown(node.tag)} is not known here`);
    if (isMap(node)) duplicates.push(...duplicatesOf(node, path));
    return undefined;
  });
  return { duplicates, unsound };
}

function aliasProblem(document: Document, alias: Alias, path: readonly unknown[]): string | undefined {
  const target = alias.resolve(document);
  const name = printable(alias.source);
  if (!target) return `*${name} stands for nothing: &${name} must come before it`;
  return path.includes(target) ? `*${name} is inside of what it stands for` : undefined;
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
 * @param path the keys down to an option; a place in a list as a number in digits
 * @returns the offset of the option's key, or of the list's entry, where it is written: aliases and merge keys are followed.
 *   Undefined: the document doesn't have it
 */
export function offsetOf(document: Document, path: readonly string[]): number | undefined {
  let node = resolved(document, document.contents);
  let offset = start(node);
  for (const part of path) {
    let next: unknown;
    if (isMap(node)) {
      const pair = pairOf(document, node, part);
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
}

function pairOf(
  document: Document,
  map: YAMLMap,
  name: string,
  hops = 0,
): YAMLMap["items"][number] | undefined {
  const own = map.items.findLast(({ key }) => keyText(key) === name);
  if (own || hops > deepest) return own;
  for (const { key, value } of map.items) {
    if (keyText(key) !== "<<") continue;
    const merged = resolved(document, value);
    for (const entry of isSeq(merged) ? merged.items : [merged]) {
      const source = resolved(document, entry);
      const found = isMap(source) ? pairOf(document, source, name, hops + 1) : undefined;
      if (found) return found;
    }
  }
  return undefined;
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
