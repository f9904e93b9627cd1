/**
 * conf reads a file here and validates it against a JSON schema, with the Ajv it brings; explain() says what is wrong. Two files are
 * read this way: the configuration (load.ts) and the agent's state (agent/state-store.ts). conf writes neither: operators write the
 * one, and lib/replace-file.ts the other, as conf syncs no folder and doesn't notice a short write.
 */
import { basename, dirname } from "node:path";
import type { ErrorObject, KeywordDefinition, SchemaObject, ValidateFunction } from "ajv";
import Conf from "conf";
import { didYouMean, inWords, shown } from "#/lib/text.ts";
import type { Finding } from "./errors.ts";
import { type Kind, refuse } from "./kinds.ts";
import { isMapping, type Mapping } from "./merge.ts";

/**
 * Making a Conf reads the file and validates what `parse` returns. It writes the file only when validation changed the data, and
 * here Ajv neither fills in defaults nor converts types.
 * @param file its folder must exist; a missing file is not parsed and has no errors
 * @returns everything that the schema refuses
 * @throws what reading or parsing throws
 */
export function readThroughConf(
  file: string,
  schema: SchemaObject,
  parse: (text: string) => Record<string, unknown>,
): readonly ErrorObject[] {
  const errors: ErrorObject[] = [];
  new Conf<Record<string, unknown>>({
    cwd: dirname(file),
    configName: basename(file),
    fileExtension: "",
    accessPropertiesByDotNotation: false,
    deserialize: parse,
    rootSchema: { validated: bySections(schema) },
    ajvOptions: {
      verbose: true,
      useDefaults: false,
      allErrors: true,
      allowUnionTypes: true,
      strictRequired: false,
      // Checking our own schemas and optimizing code that runs once would take longer than the rest of the start.
      validateSchema: false,
      code: { optimize: false },
      keywords: [kindKeyword, validatedKeyword(errors)],
    },
  });
  return errors;
}

/** `kind`: the text, or the plain number, is of that kind. */
const kindKeyword: KeywordDefinition = {
  keyword: "kind",
  type: ["string", "number"],
  schemaType: "object",
  validate: (kind: Kind, value: string | number) => refuse(kind, value) === undefined,
};

/**
 * `validated`: validates against its schema and collects the errors, which conf itself would throw as one string. The schema is
 * compiled when the first value for it comes.
 */
function validatedKeyword(errors: ErrorObject[]): KeywordDefinition {
  return {
    keyword: "validated",
    schemaType: "object",
    compile: (schema: SchemaObject, _parent, { self }) => {
      let validate: ValidateFunction | undefined;
      return (data, context) => {
        validate ??= self.compile(schema);
        if (!validate(data, context)) errors.push(...(validate.errors ?? []));
        return true;
      };
    },
  };
}

/** Puts every section under `validated`: compiling takes longer than all the rest, and most files have few of the sections. */
function bySections(schema: SchemaObject): SchemaObject {
  const { properties, additionalProperties, items } = schema;
  const section = (child: SchemaObject): SchemaObject => {
    const inside = bySections(child);
    return isMapping(child.properties) ? { validated: inside } : inside;
  };
  return {
    ...schema,
    ...(isMapping(properties) && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, child]) => [name, section(child as SchemaObject)]),
      ),
    }),
    ...(isMapping(additionalProperties) && { additionalProperties: section(additionalProperties) }),
    ...(isMapping(items) && { items: section(items) }),
  };
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
