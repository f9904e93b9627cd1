/** Turns Ajv's errors into messages for the person who writes the file. */
import type { ErrorObject } from "ajv";
import { didYouMean, inWords, shown } from "#/lib/text.ts";
import type { Finding } from "./errors.ts";
import { type Kind, refuse } from "./kinds.ts";
import { isMapping, type Mapping } from "./merge.ts";

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
      const hint = didYouMean(key, known) || ` (expected ${inWords(known, "or")})`;
      return { path: [...path, key], message: `is not an option${hint}` };
    }
    case "required":
      return { path, message: `the option ${String(params.missingProperty)} is required` };
    case "dependentRequired":
      return {
        path,
        message: `the option ${String(params.property)} also needs ${String(params.missingProperty)}`,
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
      return { path, message: "expected at least one entry, found an empty list" };
    case "maxItems":
      return { path, message: `expected ${String(params.limit)} entries at most` };
    case "minProperties":
    case "maxProperties": {
      const message = isMapping(schema.properties)
        ? `expected exactly one of ${inWords(Object.keys(schema.properties), "or")}`
        : `expected ${String(params.limit)} entries at most`;
      return { path, message };
    }
    case "enum":
      return { path, message: notAmong(params.allowedValues, error.data) };
    case "kind": {
      // For a number where the schema wants text, there is also an error of the type.
      if (typeof error.data === "number" && schema.type === "string") return undefined;
      const message = refuse(error.schema as unknown as Kind, error.data as string) ?? "can't be used";
      return { path: error.propertyName === undefined ? path : [...path, error.propertyName], message };
    }
    default:
      return { path, message: mismatch(schema, error.data) };
  }
}

/** For a value of the wrong type, or out of range. */
function mismatch(schema: Mapping, value: unknown): string {
  const kind = schema.kind as Kind | undefined;
  const message = `expected ${kind?.expected ?? expectedType(schema)}, found ${shown(value)}`;
  const mayBeText = typeof value === "number" || typeof value === "boolean";
  const fits = kind !== undefined && mayBeText && refuse(kind, String(value)) === undefined;
  return fits ? `${message}: put it in quotes` : message;
}

function notAmong(allowed: unknown, value: unknown): string {
  const values = (Array.isArray(allowed) ? allowed : []).filter((entry) => entry !== null).map(String);
  const hint = typeof value === "string" ? didYouMean(value, values) : "";
  return `expected ${inWords(values, "or")}, found ${shown(value)}${hint}`;
}

function expectedType({ type, minimum, maximum }: Mapping): string {
  const types = [type].flat();
  if (types.includes("integer")) return `a whole number from ${String(minimum)} to ${String(maximum)}`;
  if (types.includes("boolean")) return "true or false";
  if (types.includes("array")) return "a list";
  return types.includes("object") ? "a mapping of options" : "text";
}
