/** Several files laid over one another: mappings merge deeply, lists and single values replace. */

import { printable } from "#/lib/text.ts";
import type { Path, Position, Source } from "./source.ts";

/** @returns the data of all files, the later ones over the earlier ones; the sources' own data stays as it is */
export function mergeSources(sources: readonly Source[]): Record<string, unknown> {
  return sources.reduce<Record<string, unknown>>((merged, { value }) => mergeMappings(merged, value), {});
}

function mergeMappings(
  base: Readonly<Record<string, unknown>>,
  over: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const merged = new Map(Object.entries(base));
  for (const [key, value] of Object.entries(over)) {
    const below = merged.get(key);
    // A section whose options are all commented out takes nothing away.
    if (isMapping(below) && value === null) continue;
    merged.set(key, isMapping(below) && isMapping(value) ? mergeMappings(below, value) : value);
  }
  // fromEntries makes own properties of all names, __proto__ too.
  return Object.fromEntries(merged);
}

/** @returns whether a value is a mapping of options, and neither a list nor a single value */
export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * @returns where an option of the merged data stands: in the last file that has it. For one that no file has
 *   (it is missing), where the mapping stands that it should be in. Undefined: there is no file
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

/** @returns a path as messages have it: "jobs.unit-tests.nodes[0]" */
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
