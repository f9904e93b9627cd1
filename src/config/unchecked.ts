/** Reading merged data that the schema may have refused: what isn't what it should be is as if it weren't there. */
import { isMapping } from "./merge.ts";

type Mapping = Readonly<Record<string, unknown>>;

/** @returns the mapping; an empty one for anything else */
export function mapping(value: unknown): Mapping {
  return isMapping(value) ? value : {};
}

/** @returns the mappings in a mapping, or in a list, each with its name, or its place */
export function entries(value: unknown): [name: string, entry: Mapping][] {
  const entries: [string, unknown][] = Object.entries(Array.isArray(value) ? value : mapping(value));
  return entries.flatMap(([name, entry]) =>
    isMapping(entry) ? [[name, entry] satisfies [string, Mapping]] : [],
  );
}

/** @returns the texts in a list, each with its place in it */
export function texts(value: unknown): [place: string, text: string][] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((text: unknown, index) =>
    typeof text === "string" ? [[String(index), text] satisfies [string, string]] : [],
  );
}
