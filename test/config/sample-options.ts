/** What the tests of the two sample configurations share: their options in use, and those that they lack. */

/** Options are commented out without a space after the #, or with the two and more of their indentation; prose has one. */
export function inUse(sample: string): string {
  return sample.replaceAll(/^#(?! \S|$)/gm, "");
}

/**
 * The options of a schema that none of the values has.
 * @param values what the sample has at a place: several, in lists and under names
 * @param isDone places that aren't looked into
 */
export function missingOptions(
  schema: unknown,
  values: readonly unknown[],
  isDone: (path: string) => boolean = () => false,
  path = "",
): string[] {
  const { properties, items, additionalProperties } = schema as Record<
    string,
    Record<string, unknown> | undefined
  >;
  const below = values.filter((value) => typeof value === "object" && value !== null);
  if (items) return isDone(path) ? [] : missingOptions(items, below.flat(), isDone, `${path}[]`);
  if (additionalProperties) {
    const entries = below.flatMap((value) => Object.values(value));
    return missingOptions(additionalProperties, entries, isDone, `${path}.*`);
  }
  return Object.entries(properties ?? {}).flatMap(([key, part]) => {
    const found = below.flatMap((value) => (Object.hasOwn(value, key) ? [value[key as never]] : []));
    return found.length > 0 ? missingOptions(part, found, isDone, `${path}.${key}`) : [`${path}.${key}`];
  });
}
