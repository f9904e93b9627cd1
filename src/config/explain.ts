/** What the validator found, in the words of someone who writes the file. */
import type { ErrorObject } from "ajv";
import { didYouMean, inWords, shown } from "#/lib/text.ts";
import { type KindName, kinds, refuse } from "./kinds.ts";
import { isMapping } from "./merge.ts";
import type { Path } from "./source.ts";

/** A mistake in the merged data, before it has a file and a line. */
export interface Finding {
  readonly path: Path;
  readonly message: string;
}

/** @param error Ajv's, made with `verbose` @returns undefined for an error that only repeats another one */
export function explain(error: ErrorObject): Finding | undefined {
  const path = error.instancePath
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  const schema = isMapping(error.parentSchema) ? error.parentSchema : {};
  const { params } = error as { params: Record<string, unknown> };
  switch (error.keyword) {
    case "propertyNames":
      return undefined;
    case "additionalProperties": {
      const key = String(params.additionalProperty);
      const known = isMapping(schema.properties) ? Object.keys(schema.properties) : [];
      const hint = didYouMean(key, known) || ` (known here: ${known.join(", ")})`;
      return { path: [...path, key], message: `is not an option${hint}` };
    }
    case "required":
      return { path, message: `needs the option ${String(params.missingProperty)}` };
    case "dependentRequired":
      return {
        path,
        message: `needs ${String(params.missingProperty)} beside ${String(params.property)}`,
      };
    case "uniqueItems": {
      const [earlier, later] = [Number(params.j), Number(params.i)].sort((a, b) => a - b);
      const value = Array.isArray(error.data) ? error.data[later ?? 0] : undefined;
      return {
        path: [...path, String(later)],
        message: `${shown(value)} is in the list twice (see entry ${Number(earlier) + 1})`,
      };
    }
    case "minItems":
      return { path, message: "expected one entry at least, found an empty list" };
    case "maxItems":
      return { path, message: `expected ${String(params.limit)} entries at most` };
    case "minProperties":
    case "maxProperties": {
      const message = isMapping(schema.properties)
        ? `expected one of ${inWords(Object.keys(schema.properties))}`
        : `expected ${String(params.limit)} entries at most`;
      return { path, message };
    }
    case "enum":
      return { path, message: notAmong(params.allowedValues, error.data) };
    case "kind": {
      // A number where only text may be: the type's own error tells it.
      if (typeof error.data === "number" && schema.type === "string") return undefined;
      const name = error.propertyName === undefined ? path : [...path, error.propertyName];
      return {
        path: name,
        message: refuse(error.schema as KindName, error.data as string) ?? "can't be used",
      };
    }
    default:
      return { path, message: mismatch(schema, error.data) };
  }
}

/** For a value of the wrong type or out of its range: both are told in the same words. */
function mismatch(schema: Readonly<Record<string, unknown>>, value: unknown): string {
  const { type, kind, minimum, maximum } = schema;
  const types = Array.isArray(type) ? type : [type];
  const isKind = typeof kind === "string" && kind in kinds;
  const message = `expected ${isKind ? kinds[kind as KindName].expected : expectedType(types, minimum, maximum)}, found ${shown(value)}`;
  const meantText = typeof value === "number" || typeof value === "boolean";
  const fits = isKind && meantText && refuse(kind as KindName, String(value)) === undefined;
  return fits ? `${message}: put it in quotes` : message;
}

function notAmong(allowed: unknown, value: unknown): string {
  const values = (Array.isArray(allowed) ? allowed : []).filter((entry) => entry !== null).map(String);
  const hint = typeof value === "string" ? didYouMean(value, values) : "";
  return `expected ${inWords(values, "or")}, found ${shown(value)}${hint}`;
}

function expectedType(types: readonly unknown[], minimum: unknown, maximum: unknown): string {
  if (types.includes("integer")) return `a whole number from ${String(minimum)} to ${String(maximum)}`;
  if (types.includes("boolean")) return "true or false";
  if (types.includes("array")) return "a list";
  return types.includes("object") ? "a mapping of options" : "text";
}
