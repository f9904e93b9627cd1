/** The data of all files as one: merged (mappings deeply, lists and single values replaced), read, and located. */
import { printable } from "#/lib/text.ts";
import type { Path } from "./errors.ts";
import type { Position, Source } from "./source.ts";

export type Mapping = Readonly<Record<string, unknown>>;

/** @returns the data of all files, later ones over earlier ones; the sources' own data is left as it is */
export function mergeSources(sources: readonly Source[]): Mapping {
  return sources.reduce<Mapping>((merged, { value }) => mergeMappings(merged, value), {});
}

function mergeMappings(base: Mapping, over: Mapping): Mapping {
  const merged = new Map(Object.entries(base));
  for (const [key, value] of Object.entries(over)) {
    const below = merged.get(key);
    // A section whose options are all commented out (null) removes nothing.
    if (isMapping(below) && value === null) continue;
    merged.set(key, isMapping(below) && isMapping(value) ? mergeMappings(below, value) : value);
  }
  // fromEntries makes own properties of all names, __proto__ too.
  return Object.fromEntries(merged);
}

/** @returns whether a value is a mapping of options, not a list or a single value */
export function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// The checks of the sections also read data that the schema has refused: a value of the wrong type counts as missing.

/** @returns the mapping; an empty one for anything else */
export function mapping(value: unknown): Mapping {
  return isMapping(value) ? value : {};
}

/** @returns the mappings inside a mapping or a list, each with its name or index */
export function entries(value: unknown): [name: string, entry: Mapping][] {
  const all: [string, unknown][] = Object.entries(Array.isArray(value) ? value : mapping(value));
  return all.filter((pair): pair is [string, Mapping] => isMapping(pair[1]));
}

/** @returns the strings in a list, each with its index */
export function texts(value: unknown): [index: string, text: string][] {
  const all: [string, unknown][] = Array.isArray(value) ? Object.entries(value) : [];
  return all.filter((pair): pair is [string, string] => typeof pair[1] === "string");
}

/**
 * @returns where an option of the merged data is written: in the last file that has it. For a missing option, where the mapping
 *   is written that should contain it. Undefined: there is no file
 */
export function locate(sources: readonly Source[], path: Path): Position | undefined {
  for (let length = path.length; length >= 0; length--) {
    const found = sources
      .map((source) => source.locate(path.slice(0, length)))
      .findLast((position) => position);
    if (found) return found;
  }
  return undefined;
}

/** @returns a path as messages show it: "jobs.unit-tests.nodes[0]" */
export function formatPath(data: unknown, path: Path): string {
  let text = "";
  let value = data;
  for (const part of path) {
    if (Array.isArray(value)) text += `[${part}]`;
    else text += text === "" ? part : `.${part}`;
    value = isMapping(value) || Array.isArray(value) ? (value as Record<string, unknown>)[part] : undefined;
  }
  return printable(text);
}
